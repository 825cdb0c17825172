"""Opens the loggers that a user names, and keeps training safe from them."""

import contextlib
import heapq
import importlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from bnlab.errors import ConfigError
from bnlab.loggers.logged_run import LoggedRun
from bnlab.loggers.logger import Logger
from bnlab.records import Record, RunSummary, as_record
from bnlab.runfolder.folder import RunFolder

_log = logging.getLogger("bnlab")


@dataclass(frozen=True)
class _Kind:
    """A logger that is opened by its name.

    Attributes:
        place: Its class, as ``package.module:Class``.
        library: The module that it needs, and the extra that brings it; None: bnlab has all it needs.
        quiet: Environment variables, set before the library is imported unless the user has set them: nothing leaves
            this machine unless the user asks for it.
        exports: Whether `bnlab export` writes a run by it.
    """

    place: str
    library: str | None = None
    quiet: Mapping[str, str] = field(default_factory=dict)
    exports: bool = True


MOST_SAID = 160
"""Letters of a library's error in a warning; log.txt has all of it."""

_OF_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 hold a run back for more than three minutes, by a dead server
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

KINDS = {
    "csv": _Kind("bnlab.loggers.csv_file:CsvLogger"),
    "mlflow": _Kind("bnlab.loggers.mlflow_store:MlflowLogger", "mlflow", _OF_MLFLOW),
    "wandb": _Kind("bnlab.loggers.wandb_folder:WandbLogger", "wandb", {"WANDB_ERROR_REPORTING": "false"}),
    "trackio": _Kind("bnlab.loggers.trackio_project:TrackioLogger", "trackio", {"HF_HUB_DISABLE_TELEMETRY": "1"}),
}
"""Name -> logger, but for TensorBoard's, which every run has unless it is told otherwise."""


def refuse_missing_libraries(names: Iterable[str], asked_by: str = "loggers") -> None:
    """Raise if a logger's library is not installed.

    Args:
        names: Names of loggers.
        asked_by: The setting or the option that names them, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    for name in names:
        library = KINDS[name].library if name in KINDS else None
        if library is not None and not _is_installed(library):
            raise ConfigError(
                f"{asked_by}={name} needs the package {library}, which is not installed: pip install 'bnlab[{name}]'"
            )


def _is_installed(library: str) -> bool:
    """Whether a package is there; a folder of its name, such as the one that W&B leaves, is none."""
    spec = find_spec(library)
    return spec is not None and spec.origin is not None


def import_kind(name: str) -> Any:
    """Return the module of a logger, after its library was told to send nothing anywhere."""
    kind = KINDS[name]
    for variable, value in kind.quiet.items():
        os.environ.setdefault(variable, value)
    return importlib.import_module(kind.place.partition(":")[0])


class GuardedLogger:
    """A logger of an extra, which cannot stop a run: after its first error it is left out, with one warning.

    Args:
        name: The name of the logger.
        run: The run whose records it takes.
        on_trouble: Called with the name of the logger and a sentence, when it fails.
    """

    def __init__(self, name: str, run: LoggedRun, on_trouble: Callable[[str, str], object]) -> None:
        self._name = name
        self._run = run
        self._on_trouble = on_trouble
        self._logger: Logger | None = None
        self._step = 0
        with self._guarded():
            self._logger = getattr(import_kind(name), KINDS[name].place.partition(":")[2])(run)

    def take(self, record: Record) -> None:
        """Pass a record on."""
        self._step = record.step
        if self._logger is not None:
            with self._guarded():
                self._logger.take(record)

    def close(self, summary: RunSummary | None) -> None:
        """Close the logger."""
        if self._logger is not None:
            with self._guarded():
                self._logger.close(summary)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of a library, a server, a disk: nothing of it may reach the training
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._logger = None
        said = (str(error).strip().splitlines() or [""])[0][:MOST_SAID]
        text = (
            f"loggers: {self._name} failed at step {self._step} and is left out of {self._run.name} "
            f"({type(error).__name__}: {said}). Training goes on, nothing is lost: bnlab export {self._run.name} "
            f"--to {self._name} writes it again."
        )
        _log.warning("%s", text, exc_info=error)
        self._on_trouble(self._name, text)


def past_records(folder: RunFolder) -> Iterator[Record]:
    """Yield all that a run has recorded, in the order of its steps, for a logger that begins anew.

    Args:
        folder: The folder of the run.

    Raises:
        DamagedRunError: A line is damaged; the records before it have been yielded.
    """
    lines = heapq.merge(folder.read_timings(), folder.read_records(), key=lambda facts: int(facts["step"]))
    return map(as_record, lines)
