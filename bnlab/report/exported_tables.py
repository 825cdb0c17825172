"""Runs and their curves as two tables, in CSV or Parquet, by pandas: those of `bnlab.read_runs` and `read_curves`."""

import json
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bnlab.errors import ConfigError, RunError
from bnlab.results.frames import read_curves, read_runs

TableKind = Literal["csv", "parquet"]


def write_tables(folder: Path, kind: TableKind, output: Path) -> tuple[list[Path], int]:
    """Write runs.<kind> and curves.<kind>, in place of those that are there; return their paths and the number of runs.

    Args:
        folder: A run, a sweep, or the folder of all runs.
        kind: ``csv`` or ``parquet``, which needs pyarrow.
        output: The folder that they are written to.

    Raises:
        ConfigError: There are no runs, or pyarrow is missing.
        RunError: A file cannot be written.
    """
    runs = read_runs(folder)
    if runs.empty:
        raise ConfigError(f"there are no runs in {folder}. Those there are: bnlab list runs")
    tables = {"runs": in_plain_columns(runs), "curves": read_curves(folder)}
    paths = []
    for name, table in tables.items():
        path = output / f"{name}.{kind}"
        beside = path.with_name(f".{path.name}.tmp")
        try:
            output.mkdir(parents=True, exist_ok=True)
            _write(table, kind, beside)
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise RunError(f"{path} cannot be written: {error.strerror}. Choose another place by --output.") from error
        paths.append(path)
    return paths, len(runs)


def _write(table: pd.DataFrame, kind: TableKind, path: Path) -> None:
    if kind == "csv":
        written = table.copy()
        for column in _columns_of_words(written):
            written[column] = written[column].fillna("")
        # a figure that a run does not have is empty, one of a curve that was not a number says so
        written.to_csv(path, index=False, na_rep="nan" if "value" in table else "", lineterminator="\n")
        return
    try:
        table.to_parquet(path, index=False, engine="pyarrow")
    except ImportError as error:
        raise ConfigError(
            "--to parquet needs the package pyarrow, which is not installed: pip install 'bnlab[parquet]'"
        ) from error


def in_plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns hold one kind of value each, as Parquet wants it: lists become text, as JSON.

    A setting can be a number in one run and a word in another: there all are text.
    """
    plain = table.copy()
    for column in _columns_of_words(table):
        plain[column] = _plain(table[column])
    return plain


def _columns_of_words(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    there = [value for value in column if not _is_missing(value)]
    kinds = {type(value) for value in there}
    if kinds <= {str}:
        return column
    if kinds == {bool}:
        return column.astype("boolean")
    if kinds <= {int, float}:
        return pd.to_numeric(column)
    return column.map(lambda value: None if _is_missing(value) else value if isinstance(value, str) else _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
