"""The settings that tell the runs of a sweep apart."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnlab.runfolder.immaterial import IMMATERIAL

_SEED, _LEARNING_RATE = "seed", "optim.lr"
"""Those of `results.arms`, which imports SciPy: a list of runs should not wait for it."""

FACTS = frozenset(
    {
        *("run_id", "status", "problem", "folder", "sweep", "started", "tags", "note"),
        *("duration_s", "steps", "diverged_at_step"),
        *("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss"),
    }
)
"""Columns of a row that tell of a run's identity or its results; all others are its config."""

CONTENT = "data.content"
"""The column with the content of the data, as a short hash: the same wherever the files lie."""

_ORIGINS = (CONTENT, "norm.code", "diagnostics.code")
"""Columns in which no two runs of an arm may differ, whatever tells their settings apart."""

_TELL_NOTHING_APART = FACTS | (IMMATERIAL - {"data.root"})
"""Columns in which two runs may differ that are the same run. Of another data.root the content may be another one."""

_SIMPLE = frozenset({bool, int, float})
"""Types of values whose text in Python no value of another type has; it takes less time than JSON."""


def swept_keys(rows: Iterable[Mapping[str, Any]], overrides: Sequence[str] = ()) -> list[str]:
    """Return the settings that tell runs apart: as few as possible, those of the overrides first.

    Each key of the overrides with more than one value is one of them. Where two runs have the same values of these, as
    with a group of settings (``tuning=a,b``) or without overrides, other settings that differ are added, until no two
    runs have the same values.

    Args:
        rows: The runs, as `read_run_rows` returns them, or as flat configs.
        overrides: The words of the command, in Hydra's grammar.

    Example:
        >>> rows = [{"seed": s, "norm": n, "norm.eps": e} for s in (0, 1) for n, e in (("batch", 1e-5), ("none", None))]
        >>> swept_keys(rows, ["norm=batch,none", "seed=0,1"])
        ['norm', 'seed']
    """
    readable = [row for row in rows if row.get("norm") is not None or "problem" not in row]  # its config was read
    keys = dict.fromkeys(key for row in readable for key in row if key not in _TELL_NOTHING_APART)
    columns = ((key, [_plain(row.get(key)) for row in readable]) for key in keys)
    differing = {key: column for key, column in columns if len(set(column)) > 1}
    asked = dict.fromkeys(word.partition("=")[0].lstrip("+~").removesuffix(".name") for word in overrides)
    swept = [key for key in asked if key in differing]
    num_kinds = len(set(zip(*differing.values(), strict=True)))
    for key in sorted(differing, key=lambda key: _likelihood(key, differing)):
        told_apart = set(zip(*(differing[name] for name in swept), strict=True))
        if len(told_apart) == num_kinds:
            break
        if key not in swept and len(set(zip(*(differing[n] for n in [*swept, key]), strict=True))) > len(told_apart):
            swept.append(key)
    for key in _ORIGINS:
        if key in differing and _tells_arms_apart(key, swept, differing):
            swept.append(key)
    return swept


def _tells_arms_apart(key: str, swept: Sequence[str], columns: Mapping[str, Sequence[str]]) -> bool:
    """Return whether runs differ in a column that have the same values of what is swept, seed and rate aside."""
    arms = [columns[name] for name in swept if name not in {_SEED, _LEARNING_RATE}]
    return len(set(zip(*arms, columns[key], strict=True))) > (len(set(zip(*arms, strict=True))) or 1)


def _likelihood(key: str, values: Mapping[str, Sequence[str]]) -> tuple[int, bool, str]:
    """Return a sort key that puts first what was probably swept: names of groups, then settings that all runs have."""
    first = {"norm": 0, "model": 1, "data": 2, "optim": 3, _LEARNING_RATE: 4, _SEED: 5}
    return (first.get(key, len(first)), "null" in values[key], key)


def _plain(value: Any) -> str:
    """Return a text that no other value has; JSON, which is slow, for lists alone."""
    if value is None:
        return "null"
    if type(value) is str:
        return f'"{value}'
    return repr(value) if type(value) in _SIMPLE else json.dumps(value, sort_keys=True)
