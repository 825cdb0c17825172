"""Runs that are on disk, written to MLflow, W&B or Trackio by the loggers that training has."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bnlab.errors import ConfigError, RunError
from bnlab.loggers.guarded import import_kind, past_records, refuse_missing_libraries
from bnlab.loggers.logged_run import LoggedRun, logged_run
from bnlab.records import RunSummary
from bnlab.runfolder.finding import find_run_folders
from bnlab.runfolder.folder import RunFolder

_log = logging.getLogger("bnlab")


@dataclass
class Exported:
    """What an export did.

    Attributes:
        address: Where the runs are now, as the target's own commands name it.
        command: What to type to look at them.
        written: Names of runs that were written.
        there: Names of runs that were there already, as they are now.
        left_out: Name of a run -> why it was left out.
        what: What ``written`` counts.
    """

    address: str = ""
    command: str = ""
    written: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    what: str = "run"


def export_runs(folder: Path, target: str, output: Path | None) -> Exported:
    """Write runs to a target; those that it has as they are now stay, older states of them are replaced.

    Args:
        folder: A run, a sweep, or the folder of all runs.
        target: ``mlflow``, ``wandb`` or ``trackio``.
        output: The folder of MLflow's database or of Trackio's projects; None: their usual places.

    Raises:
        ConfigError: There are no runs, the target's package is missing, or the target takes no ``output``.
        RunError: The target takes nothing, such as a server that does not answer.
    """
    refuse_missing_libraries([target], "--to")
    use_place(target, output)
    folders = find_run_folders(folder)
    if not folders:
        raise ConfigError(f"there are no runs in {folder}. Those there are: bnlab list runs")
    done = Exported()
    targets: dict[str, Callable[[Path | None], _Target]] = {"mlflow": _Mlflow, "wandb": _Wandb, "trackio": _Trackio}
    keeper = targets[target](output)
    for each in folders:
        _export(each, keeper, done, target)
    keeper.tell(done, folder, folders)
    return done


def use_place(target: str, output: Path | None) -> None:
    """Tell a target its folder, before it is imported.

    Raises:
        ConfigError: It takes none, or has been imported with another one.
    """
    if output is None:
        return
    if target == "wandb":
        raise ConfigError("--output is not for --to wandb, which writes into the folder of each run. Leave it out.")
    if target == "trackio":
        os.environ["TRACKIO_DIR"] = str(output.absolute())
        if import_kind("trackio").place() != output.absolute():
            raise ConfigError(f"--output {output}: Trackio is in use with another folder. Start a new process.")


class _Target(Protocol):
    """What takes runs."""

    def has(self, run: LoggedRun) -> bool:
        """Return whether it has a run as it is in its folder now."""

    def logger(self, run: LoggedRun) -> Any:
        """Return a logger that writes a run anew."""

    def tell(self, done: Exported, folder: Path, folders: list[RunFolder]) -> None:
        """Write its address, and how it is looked at, into what the export has done."""


def _export(folder: RunFolder, keeper: _Target, done: Exported, target: str) -> None:
    name = folder.path.name
    try:
        facts = folder.read_facts()
    except FileNotFoundError:
        return
    if facts.status == "running":
        done.left_out[name] = "it is in training"
        return
    if facts.problems:
        done.left_out[name] = "; ".join(facts.problems)
        return
    run = logged_run(folder.path, facts.manifest.get("config") or {}, facts.manifest.get("started"))
    summary = folder.read_finished() or RunSummary(name, facts.status, str(folder.path), run.settings.get("seed", 0))
    try:
        if keeper.has(run):
            done.there.append(name)
            return
        logger = keeper.logger(run)
        for record in past_records(folder):
            logger.take(record)
        logger.close(summary)
    except RunError as error:  # damaged in the middle
        done.left_out[name] = str(error)
        return
    except Exception as error:  # of a library, a server, a disk
        said = (str(error).strip().splitlines() or [""])[0]
        raise RunError(
            f"{target} did not take {name} ({type(error).__name__}: {said}). {len(done.written)} runs are written; the "
            "same command goes on."
        ) from error
    done.written.append(name)


class _Mlflow:
    """MLflow's database or server."""

    def __init__(self, output: Path | None) -> None:
        self._store = output
        self._module = import_kind("mlflow")

    def has(self, run: LoggedRun) -> bool:
        return bool(self._module.has_run(run, self._store))

    def logger(self, run: LoggedRun) -> Any:
        return self._module.MlflowLogger(run, self._store)

    def tell(self, done: Exported, folder: Path, folders: list[RunFolder]) -> None:  # noqa: ARG002
        done.address = self._module.address(folders[0].path.parent.parent, self._store)
        is_local = done.address.startswith("sqlite:")
        done.command = f"mlflow server --backend-store-uri {done.address}" if is_local else done.address


class _Wandb:
    """Folders that `wandb sync` sends."""

    def __init__(self, _: Path | None) -> None:
        self._module = import_kind("wandb")

    def has(self, run: LoggedRun) -> bool:
        return bool(self._module.has_run(run))

    def logger(self, run: LoggedRun) -> Any:
        return self._module.WandbLogger(run)

    def tell(self, done: Exported, folder: Path, folders: list[RunFolder]) -> None:
        self._module.wait_for_files()
        levels = "*/" * (len(folders[0].path.parts) - len(folder.parts))
        done.address = f"{folder}/{levels}wandb"
        done.command = f"wandb sync {done.address}/offline-run-*"


class _Trackio:
    """Trackio's projects on this machine."""

    def __init__(self, _: Path | None) -> None:
        self._module = import_kind("trackio")
        self._projects: dict[str, None] = {}

    def has(self, run: LoggedRun) -> bool:
        self._projects[self._module.project_of(run)] = None
        return bool(self._module.has_run(run))

    def logger(self, run: LoggedRun) -> Any:
        return self._module.TrackioLogger(run)

    def tell(self, done: Exported, folder: Path, folders: list[RunFolder]) -> None:  # noqa: ARG002
        done.address = str(self._module.place())
        done.command = self._module.command(list(self._projects))
