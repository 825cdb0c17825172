"""One run by itself, trained unless its result is there."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.config.compose import compose_run
from bnlab.config.grammar import as_words
from bnlab.errors import ConfigError, RunError
from bnlab.records import RunSummary
from bnlab.runfolder.finding import runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.training.interruption import Interruption

if TYPE_CHECKING:
    from bnlab.experiment.cohort_run import OpenView

_log = logging.getLogger("bnlab")

SINGLE = "single"
"""The folder of runs that belong to no sweep."""


def train(
    overrides: Sequence[str] = (),
    *,
    runs: str | Path | None = None,
    config_dir: str | Path | None = None,
    again: bool = False,
) -> RunSummary:
    """Train one run, as ``bnlab train`` does, and return what came out; a finished one is returned at once.

    What is legal and probably not meant is logged as a warning, by the logger ``bnlab``.

    Args:
        overrides: What to change of the defaults, such as ``["norm=layer", "optim.lr=0.3"]``.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder of own options.
        again: Train it anew even if it is finished.

    Raises:
        BnlabError: A setting, a file or the run itself is wrong; the message says what to do.

    Example:
        >>> import bnlab, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bnlab.train(["data=synthetic", "train.steps=20"], runs=folder).status
        'finished'
    """
    config = compose_run(as_words(overrides), Path(config_dir) if config_dir else None)
    folder = runs_root(Path(runs) if runs else None) / (config.name or SINGLE)
    return train_one(config, folder, again=again, on_warning=_log.warning)


def train_one(
    config: RunConfig,
    sweep_folder: Path,
    *,
    again: bool = False,
    open_view: "OpenView | None" = None,
    on_warning: Callable[[str], object] = lambda _: None,
    on_going_on: Callable[[int], object] = lambda _: None,
    interruption: Interruption | None = None,
) -> RunSummary:
    """Train one run, or return its result if it is there; one that was cut off goes on from its last checkpoint.

    Args:
        config: What to train.
        sweep_folder: The folder that its own folder lies in.
        again: Train it anew even if it is finished.
        open_view: For a view while it trains.
        on_warning: Told of what is probably not meant, before anything is made.
        on_going_on: Told of the step from which it goes on.
        interruption: Where a stop may be asked for, with a checkpoint.

    Raises:
        ConfigError: A setting is wrong, or the run can go on only together with others.
    """
    folder = RunFolder(sweep_folder / run_id(config))
    finished = None if again else folder.read_finished()
    if finished is not None:
        return finished
    engine = "sequential" if again else _engine_to_go_on_with(folder)
    from bnlab.experiment.cohort_run import run_cohort  # noqa: PLC0415
    from bnlab.experiment.recorder import Member  # noqa: PLC0415  (they wait for torch; a finished run need not)

    (summary,) = run_cohort(
        [Member(config, folder)],
        engine,
        again=again,
        open_view=open_view,
        on_warning=on_warning,
        on_going_on=on_going_on,
        interruption=interruption,
    )
    return summary


def _engine_to_go_on_with(folder: RunFolder) -> str:
    """Return the engine that a run was begun with, if it was cut off and can go on; else that of a run by itself.

    Raises:
        ConfigError: It was begun with others: alone it would have to begin anew, and they could not go on either.
    """
    if not (folder.checkpoint_path.exists() or folder.previous_checkpoint_path.exists()):
        return "sequential"
    try:
        manifest = folder.read_manifest()
        engine, num_runs = str(manifest["engine"]), len((manifest["cohort"] or {"runs": [folder]})["runs"])
    except (RunError, LookupError, TypeError):  # damaged; what can be used of the checkpoint is found out later
        return "sequential"
    if num_runs > 1:
        raise ConfigError(
            f"{folder.path.name} was cut off while a sweep trained {num_runs} runs together, and goes on only with "
            f"them. Run the sweep again: {manifest.get('command')}\nTo train it alone, from the beginning: --again."
        )
    return engine
