"""Laws and verdicts: plain values, which can be printed, written as JSON and compared."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bnlab.conformance.examples import Example
from bnlab.conformance.subject import Subject

Status = Literal["holds", "does not hold", "does not apply"]
Topic = Literal["output", "gradient", "running statistics", "numbers", "behavior"]


@dataclass(frozen=True)
class Verdict:
    """The result of testing one layer against one law.

    Attributes:
        status: Whether the law holds for the layer.
        reason: An observation, or why the law does not apply; empty where there is nothing to add.
        cause: The likely cause if the law does not hold, else None.
        example: The smallest input on which the law does not hold; None if no input shows it.
    """

    status: Status
    reason: str = ""
    cause: str | None = None
    example: Example | None = None


HOLDS = Verdict("holds")


class NotApplicableError(Exception):
    """A law does not apply to the layer, for the reason that the message states."""


@dataclass(frozen=True)
class Law:
    """One law that a layer is tested against.

    Attributes:
        name: Two or three words, unique among all laws; the key of the verdict in a report.
        says: The law as one line of text.
        topic: The column of the catalog's table that shows the law's mark.
        judge: Returns the verdict on a layer; raises `NotApplicableError` or `LayerError` where there is none.
        relies_on: The laws whose findings `judge` reads, by name. They must be judged before this law. All laws also
            rely on the law "input", which need not be listed.
    """

    name: str
    says: str
    topic: Topic
    judge: Callable[[Subject], Verdict]
    relies_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The verdicts on one layer, and facts about it.

    Attributes:
        layer: The layer's name, as the user typed it.
        like: The family of norms whose laws were applied; None: the layer has a formula of its own.
        verdicts: Name of a law -> verdict, in the order in which the laws were judged.
        facts: Name of a property -> text, for properties that are neither right nor wrong, such as the sense of the
            layer's momentum.
    """

    layer: str
    like: str | None
    verdicts: dict[str, Verdict]
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, Verdict]:
        """The laws that do not hold."""
        return {name: verdict for name, verdict in self.verdicts.items() if verdict.status == "does not hold"}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; numbers that are not finite become text."""
        laws = [
            {"law": name, **asdict(verdict), "reason": verdict.reason or None}
            for name, verdict in self.verdicts.items()
        ]
        return {
            "layer": self.layer,
            "like": self.like,
            "holds": not self.failures,
            "laws": json.loads(json.dumps(laws), parse_constant=lambda name: str(float(name))),
            "facts": self.facts,
        }


def fails(cause: str, example: Example | None = None) -> Verdict:
    """Return the verdict that a law does not hold."""
    return Verdict("does not hold", "", cause, example)


def fails_if(causes: Sequence[str]) -> Verdict:
    """Return the verdict that a law does not hold, for all of these causes; without a cause it holds."""
    return fails("; and ".join(causes)) if causes else HOLDS


def only_if(condition: bool, otherwise: str) -> None:
    """End the test of a law that does not apply to the layer.

    Args:
        condition: Whether the law applies.
        otherwise: The reason why it does not apply, if so.

    Raises:
        NotApplicableError: The condition is false.
    """
    if not condition:
        raise NotApplicableError(otherwise)
