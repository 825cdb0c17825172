"""Finds what a path means, and writes it to another tool or as tables."""

from pathlib import Path

from bnlab.errors import ConfigError
from bnlab.pages.exported_claims import export_claims
from bnlab.pages.study_results import is_study_file, study_files
from bnlab.report.exported_runs import Exported, export_runs
from bnlab.report.exported_tables import TableKind, write_tables
from bnlab.runfolder.finding import at_home, find_folder, runs_root
from bnlab.studies.study_history import FOLDER


def export(given: str, target: str, output: Path | None = None, runs: Path | None = None) -> Exported:
    """Write what a word means to a target.

    Args:
        given: A run, a sweep or a folder of runs, by path or name; a folder of studies' results, or one of these files.
        target: ``csv``, ``parquet``, ``mlflow``, ``wandb`` or ``trackio``.
        output: A folder; None: the target's usual place, for tables a folder beside the current one's files.
        runs: The folder of all runs; None: BNLAB_RUNS, else ./runs.

    Raises:
        BnlabError: It means nothing of that kind, or the target takes nothing.
        ConfigError: ``output`` is a file, or studies are to go elsewhere than to Trackio.
    """
    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} should be a folder, it is a file. Choose another name.")
    if studies := _studies(given, runs):
        if target != "trackio":
            raise ConfigError(
                f"{given} holds results of studies, which go to trackio alone. Their numbers as CSV: "
                f"bnlab report {given} --csv"
            )
        return export_claims(studies, output)
    folder = find_folder(at_home(given), runs) if at_home(given).is_dir() else find_folder(given, runs)
    if target in {"csv", "parquet"}:
        kind: TableKind = "csv" if target == "csv" else "parquet"
        place = output or Path(f"{folder.name}-{kind}")
        paths, num_runs = write_tables(folder, kind, place)
        reader = f"python -c \"import pandas; print(pandas.read_{kind}('{paths[0]}'))\""
        return Exported(str(place), reader, [paths[0].name] * num_runs)
    return export_runs(folder, target, output)


def _studies(given: str, runs: Path | None) -> list[Path]:
    path = at_home(given)
    if is_study_file(path):
        return [path]
    if path.is_dir():
        return study_files(path)
    return study_files(runs_root(runs) / given) if Path(given).name == given == FOLDER else []
