"""Diagnostics without a value in a run: undefined in its network, not recorded, or not measured before its end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bnlab.diagnostics.cards import near_or_few, read_card
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import DIAGNOSTIC_PLUGINS
from bnlab.renamed import current_name
from bnlab.report.network.read import MeasuredRun

MOST_NAMES = 9
"""Names in one sentence, at most."""

Why = Literal["undefined", "not measured", "not recorded"]


@dataclass(frozen=True)
class Absent:
    """One diagnostic that has no value in a run.

    Attributes:
        run: The run.
        name: The diagnostic's name of today.
        why: ``undefined``: it was measured, and is defined for no layer. ``not measured``: the run ended before it was
            due. ``not recorded``: the run was trained without it.
        reason: The reason, in words that continue "undefined: ".
        command: The command that records it, with all others that the run was trained without; empty if the run is to
            blame, or if there is no such command.
    """

    run: MeasuredRun
    name: str
    why: Why
    reason: str
    command: str = ""

    @property
    def sentence(self) -> str:
        """What is absent and why, and the command that records it."""
        cure = f". This records it: {self.command}" if self.command else "."
        return f"{self.name} is {self.why} in {self.run.run_id}: {self.reason}{cure}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"why": self.why, "reason": self.reason, "command": self.command or None}


def _find_absent(run: MeasuredRun, name: str, asked: Mapping[str, str]) -> Absent:
    """Return why a run has no value of a diagnostic.

    Raises:
        ConfigError: There is no diagnostic of this name.
    """
    if name in run.empty:
        return Absent(run, name, "undefined", _needs(name, asked))
    if name in asked:
        steps = int(run.row.get("steps") or 0)
        return Absent(run, name, "not measured", f"the run has {steps:,} steps, and none at which it was due")
    known = [*DIAGNOSTICS, *DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS)]
    if name not in known:
        have = [*run.measured, *run.empty]
        near = did_you_mean(name, have)
        cure = near if near.startswith("Did") else near_or_few(name, [*have, *known])
        raise ConfigError(f"{run.run_id} has no diagnostic {name}. {cure}")
    return Absent(run, name, "not recorded", f"it was trained with {_told(list(run.measured))}")


def absent_of(run: MeasuredRun, names: Iterable[str] | None = None) -> list[Absent]:
    """Return the diagnostics that have no value in a run.

    Args:
        run: The run.
        names: Names that the run has recorded, that are in its config or the catalog, or that an installed package
            adds; also those of an earlier version. None: the diagnostics that the run's config asked for.

    Raises:
        ConfigError: There is no diagnostic of one of these names.
    """
    asked = _asked_names(run)
    wanted = [*asked, *run.empty] if names is None else [current_name(name) for name in names]
    found = [_find_absent(run, name, asked) for name in dict.fromkeys(wanted) if name not in run.measured]
    lacking = [each.name for each in found if each.why == "not recorded"]
    if not lacking:
        return found
    from bnlab.report.network.recording import command_that_records  # noqa: PLC0415  (Hydra; hardly ever needed)

    command = command_that_records(run.folder, lacking)
    return [replace(each, command=command) if each.why == "not recorded" else each for each in found]


def by_reason(absent: Sequence[Absent]) -> list[str]:
    """Return a sentence per reason, with the names of all diagnostics that have it."""
    names: dict[tuple[str, str], list[str]] = {}
    for each in absent:
        names.setdefault((each.why, each.reason), []).append(each.name)
    return [f"{_few(of_one)}: {why}, {reason}." for (why, reason), of_one in names.items()]


def _few(names: Sequence[str]) -> str:
    shown = names if len(names) <= MOST_NAMES else names[: MOST_NAMES - 1]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} others" if len(shown) < len(names) else "")


def _asked_names(run: MeasuredRun) -> dict[str, str]:
    """Return the diagnostics of a run's config: name in the records -> name in the config."""
    names = run.row.get("diagnostics.names")
    found = {}
    for name in names if isinstance(names, list) else []:
        if name in DIAGNOSTICS:
            found[name] = name
            continue
        try:
            found[read_card(name).name] = name
        except ConfigError:  # a class of the user's own that is gone: its records have a name that nobody knows
            continue
    return found


def _needs(name: str, asked: Mapping[str, str]) -> str:
    try:
        words = read_card(asked.get(name, name)).undefined
    except ConfigError:
        words = ""
    return f"it needs {words}" if words else "it has no value for any layer, and its class does not say why"


def _told(names: list[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} other diagnostics"
    return ", ".join(names) or "diagnostics=none"
