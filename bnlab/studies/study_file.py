"""Studies that are kept in files: conf/study/<name>.yaml, a claim and all that decides it, written before any run."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bnlab.errors import ConfigError
from bnlab.studies.condition import Condition, Strict, TextOrWord
from bnlab.studies.quantity import read_quantity

ScaleName = Literal["quick", "full"]

TUNING_SEEDS_FROM = 1000
"""The first seed of those on which learning rates are chosen: the seeds that decide must stay below."""


class Tune(Strict):
    """How learning rates are chosen, apart from the runs that decide.

    Attributes:
        seeds: How many seeds each arm is tried with at each rate.
        by: What decides, on the validation set: ``accuracy``, ``loss``, or the fewest steps, ``steps_to:0.9``.
    """

    seeds: int = Field(ge=1, le=100)
    by: str = "accuracy"

    @model_validator(mode="after")
    def _is_an_outcome(self) -> "Tune":
        if self.by in {"accuracy", "loss"}:
            return self
        try:
            is_steps = read_quantity(self.by).kind == "steps_to"
        except ConfigError:
            is_steps = False
        if not is_steps:
            raise ValueError(f"by must be accuracy, loss or steps_to:0.9, got {self.by}")
        return self


class PartOfScale(Strict):
    """Runs of a study that are made by one sweep.

    Attributes:
        words: Key -> value or list of values, as in the file of a sweep, without seed and name.
        tune: How the learning rates are chosen first; None: all of them are trained with all seeds.
    """

    words: dict[str, Any]
    tune: Tune | None = None

    @model_validator(mode="after")
    def _leaves_out_what_the_study_sets(self) -> "PartOfScale":
        taken = [key for key in self.words if key in {"seed", "name", "sweep"} or key.startswith("hydra")]
        if taken:
            raise ValueError(f"words must not set {', '.join(taken)}: the study does")
        if any(isinstance(value, dict) for value in self.words.values()):
            raise ValueError("words must be lines like 'optim.lr: [0.1, 1]', dotted keys and no sections")
        if self.tune is not None and "optim.lr" not in self.words:
            raise ValueError("tune needs several values of optim.lr in words")
        return self


class Scale(Strict):
    """How large a study is.

    Attributes:
        seeds: How many seeds are trained, one of the study's looks.
        minutes: Minutes on two cores.
        parts: Name -> the runs of it.
        claim: The claim at this scale; None: the study's.
        protocol: What is fixed and tuned at this scale; None: the study's.
        conditions: Those that decide at this scale; None: the study's.
        checks: What must hold for a verdict at this scale; None: the study's.
        also: Those that are shown besides; None: the study's.
    """

    seeds: int = Field(ge=3, lt=TUNING_SEEDS_FROM)
    minutes: float = Field(gt=0)
    parts: dict[str, PartOfScale]
    claim: TextOrWord | None = None
    protocol: TextOrWord | None = None
    conditions: tuple[Condition, ...] | None = Field(default=None, min_length=1)
    checks: tuple[Condition, ...] | None = None
    also: tuple[Condition, ...] | None = None


class StudyFile(Strict):
    """A claim, and what decides it; see `Condition` for how.

    Attributes:
        claim: The claim, one sentence.
        statements: The statements of the article that it is about, such as S17; none for a claim of somebody else.
        experiment: The experiment of the plan that it is, such as E3.
        pack: The group of studies that it belongs to; where none is named, ``own``, or ``article`` in bnlab's folder.
        source: Where the claim is made.
        literature: What was found before.
        fools: What fools the reader of its verdict.
        protocol: What is fixed, and what is tuned.
        looks: Numbers of seeds at which the runs are judged, rising; all looks share the error.
        first_seed: The first of the seeds; not 0 where runs of these were seen before the criterion stood.
        conditions: What must hold, all of it; the first one is the primary one.
        checks: What the experiment presupposes: where one of these does not hold, the verdict is inconclusive.
        also: What is shown besides, and decides nothing.
        scales: ``quick``, ``full`` or both.
    """

    claim: TextOrWord
    statements: tuple[str, ...] = ()
    experiment: str | None = None
    pack: str = "own"
    source: str = ""
    literature: TextOrWord | None = None
    fools: TextOrWord | None = None
    protocol: TextOrWord | None = None
    looks: tuple[Annotated[int, Field(ge=3)], ...] = (5, 10, 20)
    first_seed: int = Field(default=0, ge=0, lt=TUNING_SEEDS_FROM)
    conditions: tuple[Condition, ...] = Field(min_length=1)
    checks: tuple[Condition, ...] = ()
    also: tuple[Condition, ...] = ()
    scales: dict[ScaleName, Scale]

    @model_validator(mode="after")
    def _fits_together(self) -> "StudyFile":
        if list(self.looks) != sorted(set(self.looks)) or not self.looks:
            raise ValueError(f"looks must rise, got {list(self.looks)}")
        if not self.scales:
            raise ValueError("scales must hold quick or full")
        if self.first_seed + self.looks[-1] > TUNING_SEEDS_FROM:
            raise ValueError(
                f"first_seed and the last of looks must stay below {TUNING_SEEDS_FROM}, where the seeds of tuning begin"
            )
        for name, scale in self.scales.items():
            if scale.seeds not in self.looks:
                raise ValueError(f"scales.{name}.seeds must be one of looks, {list(self.looks)}, got {scale.seeds}")
            for condition in (*self.conditions_at(name), *self.checks_at(name), *self.also_at(name)):
                _check_part(name, scale, condition)
        return self

    def conditions_at(self, scale: ScaleName) -> tuple[Condition, ...]:
        """Return the conditions that decide at a scale."""
        return self.conditions if (own := self.scales[scale].conditions) is None else own

    def checks_at(self, scale: ScaleName) -> tuple[Condition, ...]:
        """Return what must hold for a verdict at a scale."""
        return self.checks if (own := self.scales[scale].checks) is None else own

    def also_at(self, scale: ScaleName) -> tuple[Condition, ...]:
        """Return the conditions that are shown besides at a scale."""
        return self.also if (own := self.scales[scale].also) is None else own

    def criterion_hash(self, scale: ScaleName) -> str:
        """Return a hash of all that decides at a scale: conditions, looks, runs; texts may change."""
        decides = {
            "conditions": [one.model_dump(mode="json", exclude={"says"}) for one in self.conditions_at(scale)],
            "checks": [one.model_dump(mode="json", exclude={"says"}) for one in self.checks_at(scale)],
            "looks": self.looks,
            "first_seed": self.first_seed,
            "parts": {name: part.model_dump(mode="json") for name, part in self.scales[scale].parts.items()},
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _check_part(name: str, scale: Scale, condition: Condition) -> None:
    """Raise if a condition asks a part that its scale does not have.

    Raises:
        ValueError: It does.
    """
    if condition.law is not None:
        return
    known = ", ".join(scale.parts) or "none"
    if condition.part is None and len(scale.parts) != 1:
        raise ValueError(f"a condition on {condition.metric} must name its part: scales.{name} has {known}")
    if condition.part is not None and condition.part not in scale.parts:
        raise ValueError(f"part {condition.part} is none of scales.{name}: {known}")
