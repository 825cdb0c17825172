"""Run folders -> data frames."""

import logging
from pathlib import Path

import pandas as pd

from bnlab.errors import RunError
from bnlab.runfolder.finding import find_folder, find_run_folders
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

_log = logging.getLogger("bnlab")

_OF_A_RECORD = ("kind", "step", "split", "name")


def read_runs(path: str | Path | None = None) -> pd.DataFrame:
    """Return one row per run at or below a path: identity, status, final figures, every value of its config.

    Every run that has a manifest is there, whatever became of it. One that trains in another process has the status
    ``running`` and no figures yet. One whose files are damaged has the status ``failed``, and the column ``problem``,
    which is there only then, says what is wrong.

    Args:
        path: A run, a sweep, or the folder of all; or the name of a sweep or a run; None: BNLAB_RUNS, else ./runs.

    Returns:
        Columns ``run_id status seed norm model data optim.lr test_accuracy ...``; what a run does not have is missing.

    Raises:
        ConfigError: There is no such folder and no such name.

    Example:
        >>> import bnlab, tempfile
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     summary = bnlab.train(["data=synthetic", "train.steps=20"], runs=runs)
        ...     bnlab.read_runs(runs)[["status", "norm"]].iloc[0].tolist()
        ['finished', 'batch']
    """
    return pd.DataFrame(read_run_rows(find_folder(path)))


def read_curves(path: str | Path | None = None) -> pd.DataFrame:
    """Return every recorded value of every run at or below a path, one per row.

    A line that a crash cut off is left out, and so is whatever stands below a damaged line: a warning of the logger
    ``bnlab`` names it. Another one names each run that ended, but whose records stop before the end.

    Args:
        path: A run, a sweep, or the folder of all; or the name of a sweep or a run; None: BNLAB_RUNS, else ./runs.

    Returns:
        Columns ``run_id kind step split name key value``; ``key`` is a layer's role for a diagnostic, and ``loss``,
        ``accuracy`` or ``lr`` otherwise. A value that was not finite is NaN, infinity or minus infinity again.

    Raises:
        ConfigError: There is no such folder and no such name.
    """
    records: list[tuple[object, ...]] = []
    num_values: list[int] = []
    keys: list[str] = []
    values: list[float | str] = []
    for folder in find_run_folders(find_folder(path)):
        kind = ""
        try:
            for record in folder.read_records():
                kind = record["kind"]
                of_it = {**record["values"], **record["nonfinite"]} if "nonfinite" in record else record["values"]
                records.append((folder.path.name, *(record[name] for name in _OF_A_RECORD)))
                num_values.append(len(of_it))
                keys.extend(of_it)
                values.extend(of_it.values())
            if kind != "end":
                _warn_if_damaged(folder)
        except RunError as error:
            _log.warning("%s", error)
    frame = pd.DataFrame(records, columns=["run_id", *_OF_A_RECORD])
    frame = frame.loc[frame.index.repeat(num_values)].reset_index(drop=True)  # a third less time than a row per value
    return frame.assign(key=keys, value=values).astype({"key": str, "value": float})


def _warn_if_damaged(folder: RunFolder) -> None:
    try:
        problems = folder.read_facts().problems
    except FileNotFoundError:  # it is being trained anew
        return
    if problems:
        _log.warning("%s: %s", folder.path, "; ".join(problems))
