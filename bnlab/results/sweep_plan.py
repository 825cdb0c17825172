"""What a sweep's sweep.json says; without SciPy, for which a list of runs should not wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bnlab.runfolder.shapes import PLAN, read_what_fits


@dataclass(frozen=True)
class Plan:
    """What a sweep's sweep.json says.

    Attributes:
        overrides: The words of the command that was given last.
        runs: Ids of all runs of the sweep, in order.
        earlier: The words of each command before it, where the last one does not name all of the runs.
        places: Id of a run -> ``data.root`` and ``data.path`` by the last command, where these are swept. A run's own
            config has those of the command that trained it, and folders with the same content may have moved.
        problem: What is wrong with the file; empty where it is readable, or is not there.
    """

    overrides: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    earlier: tuple[tuple[str, ...], ...] = ()
    places: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    problem: str = ""

    @property
    def words(self) -> list[str]:
        """The words of all of its commands."""
        return [word for words in (self.overrides, *self.earlier) for word in words]


def find_plan_problem(folder: Path) -> str:
    """Return what is wrong with a sweep's sweep.json; nothing if it is readable, or is not there."""
    return read_plan(folder).problem


def read_plan(folder: Path) -> Plan:
    """Return what a sweep's sweep.json says; an empty plan where it is not there, or is damaged."""
    facts, problems = read_what_fits(folder / "sweep.json", PLAN)
    if not problems:
        earlier = tuple(map(tuple, facts.get("earlier", [])))
        return Plan(tuple(facts["overrides"]), tuple(facts["runs"]), earlier, facts.get("places", {}))
    is_there = problems != ["sweep.json is missing"]
    return Plan(problem=f"{problems[0]}. Its plan is taken from the runs that are there" if is_there else "")
