"""Names that diagnostics and their facets had in earlier versions, and their names of today: the one table of them.

Runs, configs and commands that hold the old names keep their meaning: the schema, the readers of run folders and the
commands translate them. A run's id is computed from the first names, so that a new name changes no id.
"""

from collections.abc import Sequence
from typing import Any

DIAGNOSTICS = {
    "saturation_rho": "saturation_degree",
    "statistic_noise": "batch_statistics_noise",
}
"""First name -> name of today."""

_POPULATION = {"precise": "population", "train_precise": "train_population"}
_STEPS = {
    f"{old}{end}": f"{new}{end}"
    for old, new in (("fixed", "fixed_step"), ("own", "lr_step"))
    for end in ("", "_relative", "_low", "_high")
}
FACETS = {
    "accuracy_by_statistics": _POPULATION,
    "loss_by_statistics": _POPULATION,
    "prediction_flips": {"running_precise": "running_population"},
    "loss_range": _STEPS,
    "gradient_predictiveness": _STEPS,
    "effective_beta": _STEPS,
    "angular_update": {"row": "median_row"},
    "effective_lr": {"row": "median_row"},
}
"""Diagnostic, by its name of today -> first name of a facet -> name of today."""

_FIRST = {new: old for old, new in DIAGNOSTICS.items()}


def current_name(name: str) -> str:
    """Return a diagnostic's name of today; a name that the table does not know comes back as it is.

    Example:
        >>> current_name("statistic_noise"), current_name("saturation")
        ('batch_statistics_noise', 'saturation')
    """
    return DIAGNOSTICS.get(name, name)


def current_names(names: Sequence[str]) -> list[str]:
    """Return the names of today of several diagnostics, in the same order."""
    return [current_name(name) for name in names]


def first_names(names: Sequence[str]) -> list[str]:
    """Return the names that diagnostics had first, in the same order: those that a run's id is computed from."""
    return [_FIRST.get(name, name) for name in names]


def current_record(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the names of today.

    Args:
        facts: One line of metrics.jsonl as a dictionary; it is not changed. Records of other kinds than
            ``diagnostic`` come back as they are.

    Example:
        >>> current_record({"kind": "diagnostic", "name": "effective_lr", "values": {"hidden1/row": 0.1}})
        {'kind': 'diagnostic', 'name': 'effective_lr', 'values': {'hidden1/median_row': 0.1}}
    """
    if facts.get("kind") != "diagnostic":
        return facts
    name = current_name(facts["name"])
    renamed = {**facts, "name": name}
    if facets := FACETS.get(name):
        for part in ("values", "nonfinite"):
            if part in facts:
                renamed[part] = {_current_key(key, facets): value for key, value in facts[part].items()}
    return renamed


def _current_key(key: str, facets: dict[str, str]) -> str:
    role, slash, facet = key.partition("/")
    return f"{role}{slash}{facets.get(facet, facet)}"
