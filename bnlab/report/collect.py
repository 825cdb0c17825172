"""Run folders -> data frames."""

from pathlib import Path

import pandas as pd

from bnlab.runfolder.index import find_run_folders, read_run_rows, runs_root


def read_runs(path: str | Path | None = None) -> pd.DataFrame:
    """Return one row per run at or below a path: identity, status, final figures, every value of its config.

    Args:
        path: A run, a sweep, or the folder of all; None: BNLAB_RUNS, else ./runs.

    Returns:
        Columns ``run_id status seed norm model data optim.lr test_accuracy ...``; what a run does not have is missing.
    """
    return pd.DataFrame(read_run_rows(runs_root(Path(path) if path else None)))


def read_curves(path: str | Path | None = None) -> pd.DataFrame:
    """Return every recorded value of every run at or below a path, one per row.

    Args:
        path: A run, a sweep, or the folder of all; None: BNLAB_RUNS, else ./runs.

    Returns:
        Columns ``run_id kind step split name key value``; ``key`` is a layer's role for a diagnostic, and ``loss``,
        ``accuracy`` or ``lr`` otherwise. A value that was not finite is NaN, infinity or minus infinity again.
    """
    rows = [
        (folder.path.name, record["kind"], record["step"], record["split"], record["name"], key, value)
        for folder in find_run_folders(runs_root(Path(path) if path else None))
        for record in folder.read_records()
        for key, value in {**record["values"], **record.get("nonfinite", {})}.items()
    ]
    frame = pd.DataFrame(rows, columns=["run_id", "kind", "step", "split", "name", "key", "value"])
    return frame.astype({"value": float})
