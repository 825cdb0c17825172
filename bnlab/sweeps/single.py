"""One run by itself, trained unless its result is there."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.config.compose import compose_run
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.runfolder.index import runs_root
from bnlab.schema import RunConfig

if TYPE_CHECKING:
    from bnlab.experiment.running import OpenView

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
    config = compose_run(list(overrides), Path(config_dir) if config_dir else None)
    folder = runs_root(Path(runs) if runs else None) / (config.name or SINGLE)
    return train_one(config, folder, again=again, on_warning=_log.warning)


def train_one(
    config: RunConfig,
    sweep_folder: Path,
    *,
    again: bool = False,
    open_view: "OpenView | None" = None,
    on_warning: Callable[[str], object] = lambda _: None,
) -> RunSummary:
    """Train one run, or return its result if it is there.

    Args:
        config: What to train.
        sweep_folder: The folder that its own folder lies in.
        again: Train it anew even if it is finished.
        open_view: For a view while it trains.
        on_warning: Told of what is probably not meant, before anything is made.
    """
    folder = RunFolder(sweep_folder / run_id(config))
    finished = None if again else folder.read_finished()
    if finished is not None:
        return finished
    from bnlab.experiment.running import run_experiment  # noqa: PLC0415  (it waits for torch; a finished run need not)

    return run_experiment(config, folder, open_view, on_warning, again=again)
