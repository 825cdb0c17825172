"""A run, trained once more from what its manifest says, and held against itself."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError
from bnlab.experiment.checking import is_there
from bnlab.experiment.cohort_run import OpenView, run_cohort
from bnlab.experiment.manifest import cohort_from
from bnlab.experiment.recorder import Member
from bnlab.loggers.logger import Logger
from bnlab.records import Record, RunSummary
from bnlab.runfolder.agreement import Agreement, compare
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.training.loop import Plan


def rerun(folder: RunFolder, keep: Path | None = None, open_view: OpenView | None = None) -> tuple[Agreement, Path]:
    """Train a run once more, by the engine, in the cohort, on the device and by the threads of its manifest.

    A cohort is trained as a whole, since float32 bits depend on its size. Where the device of the manifest is not
    there, the run's setting ``device`` says which is taken; what then differs is told.

    Args:
        folder: The run's, which is only read.
        keep: Where the repetition stays, in a folder by the run's id; None: in a temporary place, and it is gone.
        open_view: For a view while it trains.

    Returns:
        How they agree, and the folder of the repetition, which is gone if it was not to be kept.

    Raises:
        ConfigError: The run has not come to its end, its manifest is damaged or another version's, or it would be
            repeated into its own folder.
        RunError: The repetition failed.
        DataError: The data are not there, or damaged.
    """
    configs, manifest = _cohort_of(folder)
    if folder.read_finished() is None:
        raise ConfigError(
            f"{folder.path.name} has not come to its end ({folder.read_status()}): nothing to compare with. "
            "The command that made it goes on from where it was."
        )
    position = manifest["cohort"]["position"] if manifest["cohort"] else 0
    own = run_id(configs[position])
    with _place(keep) as place:
        members = [Member(config, RunFolder(place / run_id(config))) for config in configs]
        repeated = members[position].folder
        if any(folder.path.resolve() == member.folder.path.resolve() for member in members):
            raise ConfigError(f"--keep {keep} is where the run itself lies. Give it another folder.")

        def view_of_this_one(config: RunConfig, name: str, plan: Plan) -> Logger:
            return open_view(config, name, plan) if open_view is not None and name == own else _Unseen()

        run_cohort(members, manifest["engine"], again=True, open_view=view_of_this_one)
        return compare(folder, repeated), repeated.path


def _cohort_of(folder: RunFolder) -> tuple[list[RunConfig], dict[str, Any]]:
    """Return the configs of all runs of a run's cohort, as they were trained, and its manifest.

    Raises:
        ConfigError: They cannot be told any more.
    """
    try:
        manifest = folder.read_manifest()
        device, num_threads = str(manifest["device"]), int(manifest["threads"])
        return [_as_it_was(config, device, num_threads) for config in cohort_from(manifest)], manifest
    except (RunError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder.path.name} cannot be repeated: {error}") from error


class _Unseen:
    """The view of a run that is only trained along."""

    def take(self, record: Record) -> None:
        """Show nothing."""

    def close(self, summary: RunSummary | None) -> None:
        """Have nothing to close."""


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="bnlab-rerun-") as place:
            yield Path(place)


def _as_it_was(config: RunConfig, device: str, num_threads: int) -> RunConfig:
    changes = {"threads": num_threads, "loggers": [], "device": device if is_there(device) else config.device}
    return config.model_copy(update=changes)
