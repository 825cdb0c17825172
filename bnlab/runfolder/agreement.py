"""Compares two trainings of one run: whether their numbers are the same, and otherwise how far apart."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import flatten

BEGINNING = 1e-4
"""Largest relative difference at the first step with any difference that still counts as rounding: float32 rounds to
6e-8, and a few steps magnify that. Another seed, option or formula differs by 1e-2 and more at once."""

LOSS_TOLERANCE = 1e-2
"""Largest difference of a loss, as a share of the loss at the start. Training magnifies rounding without end: with 2
threads instead of 1, losses of an MLP differed by 1e-4 of that after 3,000 steps, and those of a CNN by 2e-2 after 150,
when BatchNorm's running statistics were new."""

SHARE_TOLERANCE = 2e-2
"""Largest difference of a share: ten of 500 images."""

SHARES = frozenset({"accuracy", "saturation", "dead_fraction"})
"""Names of values, or of diagnostics, between 0 and 1."""

FIGURES = (
    *("status", "steps", "diverged_at_step", "test_accuracy", "test_loss"),
    *("validation_accuracy", "validation_loss", "train_loss"),
)
"""The figures of a summary, without wall-clock times."""

MADE_BY = ("schema_version", "git", "versions", "hardware", "device", "threads", "engine", "data")
"""The keys of a manifest that may explain different numbers."""

Verdict = Literal["identical", "rounding", "different"]


@dataclass(frozen=True)
class Difference:
    """One value that is not the same in two records.

    Attributes:
        step: The step of both records.
        what: The name of the value: ``train loss``, ``validation accuracy``, ``saturation hidden1``; ``record`` if the
            whole records differ.
        before: The value in the first training; None: it is missing there.
        after: The value in the second training; None: it is missing there.
    """

    step: int
    what: str
    before: Any
    after: Any

    @property
    def absolute(self) -> float:
        """The absolute difference; infinite if one of the values is no number."""
        if not all(isinstance(value, (int, float)) for value in (self.before, self.after)):
            return math.inf
        return float(abs(self.before - self.after))

    @property
    def relative(self) -> float:
        """The difference as a share of the larger value; infinite if one of the values is no number."""
        return self.absolute if math.isinf(self.absolute) else self.absolute / max(abs(self.before), abs(self.after))

    @property
    def is_loss(self) -> bool:
        """Whether the value is a loss."""
        return self.what.endswith(" loss")

    @property
    def is_share(self) -> bool:
        """Whether the value is a share, which counts images or units, so that its first difference cannot be small."""
        return not SHARES.isdisjoint(self.what.split())


@dataclass(frozen=True)
class Agreement:
    """The result of comparing two trainings of one run.

    Attributes:
        verdict: ``identical``: the same values in the same records. ``rounding``: the same records; at the first step
            with a difference, all differences are as small as rounding, and no loss and no share differs much later.
            Gradient norms follow the weights, and may differ more. ``different``: anything else.
        num_records: The number of records in the first training.
        first: The first difference; None: there is no difference.
        largest_loss: The largest relative difference of a loss; None: no loss differs.
        figures: Final figure -> its value in the first and in the second training.
        changed: Possible causes: dotted key of the manifest -> its value in the first and in the second training.
    """

    verdict: Verdict
    num_records: int
    first: Difference | None
    largest_loss: Difference | None
    figures: dict[str, tuple[Any, Any]]
    changed: dict[str, tuple[Any, Any]]

    @property
    def agrees(self) -> bool:
        """Whether the numbers are the same, up to rounding."""
        return self.verdict != "different"

    @property
    def begins_small(self) -> bool:
        """Whether the first difference is as small as rounding, even if later ones are not."""
        return self.first is not None and self.first.relative <= BEGINNING


def compare(before: RunFolder, after: RunFolder) -> Agreement:
    """Compare two trainings of one run, record by record.

    Args:
        before: The folder of the first training.
        after: The folder of the second training.

    Raises:
        RunError: A file is missing or damaged.
    """
    records, repeated = list(before.read_records()), list(after.read_records())
    differences = [
        difference for one, other in itertools.zip_longest(records, repeated) for difference in _differences(one, other)
    ]
    losses = [difference for difference in differences if difference.is_loss]
    summaries = [one.read_facts().summary for one in (before, after)]
    manifests = [_origin(one) for one in (before, after)]
    return Agreement(
        _verdict(differences, _first_loss(records)),
        len(records),
        differences[0] if differences else None,
        max(losses, key=lambda difference: difference.relative, default=None),
        {name: (summaries[0].get(name), summaries[1].get(name)) for name in FIGURES},
        {
            key: (manifests[0].get(key), manifests[1].get(key))
            for key in dict.fromkeys([*manifests[0], *manifests[1]])
            if manifests[0].get(key) != manifests[1].get(key)
        },
    )


def _verdict(differences: Sequence[Difference], first_loss: float) -> Verdict:
    if not differences:
        return "identical"
    earliest = [one for one in differences if one.step == differences[0].step]
    begins_small = all(one.relative <= BEGINNING or one.is_share for one in earliest)
    losses = [one for one in differences if one.is_loss]
    shares = [one for one in differences if one.is_share]
    stays_near = all(one.absolute <= LOSS_TOLERANCE * first_loss for one in losses)
    stays_near &= all(one.absolute <= SHARE_TOLERANCE for one in shares)
    return "rounding" if begins_small and stays_near else "different"


def _first_loss(records: Sequence[Mapping[str, Any]]) -> float:
    return next((float(one["values"]["loss"]) for one in records if one["values"].get("loss") is not None), 0.0)


def _differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Difference]:
    """Return the values in which two records differ; the whole records, if their kind, step or name differ."""
    names = [record and (record["kind"], record["step"], record["split"], record["name"]) for record in (before, after)]
    if before is None or after is None or names[0] != names[1]:
        step = (before or after or {})["step"]
        return [Difference(step, "record", *(_called(record) if record else None for record in (before, after)))]
    values, others = ({**record["values"], **record.get("nonfinite", {})} for record in (before, after))
    return [
        Difference(before["step"], f"{_called(before)} {key}", values.get(key), others.get(key))
        for key in dict.fromkeys([*values, *others])
        if values.get(key) != others.get(key)
    ]


def _called(record: Mapping[str, Any]) -> str:
    return str(record["name"] or record["split"])


def _origin(folder: RunFolder) -> dict[str, Any]:
    manifest = folder.read_manifest()
    return flatten({key: manifest.get(key) for key in MADE_BY})
