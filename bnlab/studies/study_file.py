"""Studies that are kept in files: conf/study/<name>.yaml, a claim and all that decides it, written before any run."""

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bnlab.errors import ConfigError, did_you_mean
from bnlab.studies.definitions import LAWS
from bnlab.studies.quantity import Quantity, read_quantity

ScaleName = Literal["quick", "full"]

TUNING_SEEDS_FROM = 1000
"""The first seed of those on which learning rates are chosen: the seeds that decide must stay below."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(_Part):
    """A text in English and Chinese.

    Attributes:
        en: In English.
        zh: In Chinese; empty: pages in Chinese show the English one.
    """

    en: str = Field(min_length=1)
    zh: str = ""


def _as_text(value: Any) -> Any:
    return {"en": value} if isinstance(value, str) else value


TextOrWord = Annotated[Text, BeforeValidator(_as_text)]


class Condition(_Part):
    """One thing that must hold for the claim: a figure, of which arms, and where its interval must lie.

    Attributes:
        metric: What is measured, as for ``bnlab judge --metric``; none for a law.
        arms: The first and the second arm: their difference, or ratio, is asked for, turned so that larger is better.
        arm: One arm, whose own value is asked for.
        recovered: Three arms: the share of the way from the second to the third one that the first one goes.
        law: The name of a definition, of which the deviation from its closed form is asked for.
        above: The interval must lie above this.
        below: It must lie below this.
        within: It must lie between these; one number X of a pair: between -X and X.
        less: Of a diagnostic of two arms: better is less.
        scale: Of a diagnostic of two arms: whether they are compared by ratio or difference.
        part: The part of the scale whose runs are asked; may be left out where there is one.
        where: Conditions that runs must fulfill.
        statement: The statement of the article that it answers for, where the study has several.
        says: The condition as a sentence; None: one is made of the above.
    """

    metric: str | None = None
    arms: tuple[str, str] | None = None
    arm: str | None = None
    recovered: tuple[str, str, str] | None = None
    law: str | None = None
    above: float | None = None
    below: float | None = None
    within: float | tuple[float, float] | None = None
    less: bool = False
    scale: Literal["ratio", "difference"] = "difference"
    part: str | None = None
    where: tuple[str, ...] = ()
    statement: str | None = None
    says: TextOrWord | None = None

    @model_validator(mode="after")
    def _is_one_form(self) -> "Condition":
        subjects = [name for name in ("arms", "arm", "recovered", "law") if getattr(self, name) is not None]
        if len(subjects) != 1:
            raise ValueError(f"exactly one of arms, arm, recovered, law must be given, got {subjects or 'none'}")
        bounds = [name for name in ("above", "below", "within") if getattr(self, name) is not None]
        if len(bounds) != 1:
            raise ValueError(f"exactly one of above, below, within must be given, got {bounds or 'none'}")
        if (self.metric is None) != (self.law is not None):
            raise ValueError("metric must be given, except with law")
        if self.arms is not None and self.below is not None:
            raise ValueError("two arms are compared by above or within: turn the arms round in place of below")
        if not isinstance(self.within, tuple | None) and (self.arms is None or self.within <= 0):
            raise ValueError("within takes one number above 0 for two arms, and [low, high] for anything else")
        if isinstance(self.within, tuple) and (self.arms is not None or not self.within[0] < self.within[1]):
            raise ValueError("within takes [low, high], rising, for one arm, and one number for two arms")
        if not all(math.isfinite(end) for end in self.ends if end is not None):
            raise ValueError("above, below and within must be finite")
        if self.arms is None and (self.less or self.scale != "difference"):
            raise ValueError("less and scale are for two arms")
        if self.law is not None and self.law not in LAWS:
            raise ValueError(f"law {self.law} is not known. {did_you_mean(self.law, LAWS)}")
        if self.metric is not None:
            try:
                quantity = self.quantity()
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("--")) from None
            if self.arms is not None and quantity.scale == "ratio" and self.factor <= (0 if self.within is None else 1):
                raise ValueError(f"{self.metric} is compared by a ratio: above must be above 0, within above 1")
        return self

    @property
    def factor(self) -> float:
        """The one number of a condition on two arms."""
        return self.within if isinstance(self.within, float) else self.above or 0.0

    @property
    def kind(self) -> str:
        """Its form: ``pair``, ``arm``, ``recovered`` or ``law``."""
        return "pair" if self.arms else "arm" if self.arm else "recovered" if self.recovered else "law"

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Between what the interval must lie; None where there is no end."""
        if isinstance(self.within, tuple):
            return self.within
        return (self.above, self.below) if self.within is None else (-self.within, self.within)

    @property
    def bound(self) -> str:
        """Where the interval must lie, in words."""
        low, high = self.ends
        if low is not None and high is not None:
            if self.arms is not None and self.quantity().scale == "ratio":
                low = 1 / high
            return f"within {low:g} and {high:g}"
        return f"above {low:g}" if low is not None else f"below {high:g}"

    def quantity(self) -> Quantity:
        """Return what is measured.

        Raises:
            ConfigError: The metric is none.
        """
        assert self.metric is not None
        return read_quantity(self.metric, self.less, self.scale == "ratio")


class Tune(_Part):
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


class PartOfScale(_Part):
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


class Scale(_Part):
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


class StudyFile(_Part):
    """A claim, and what decides it; see `Condition` for how.

    Attributes:
        claim: The claim, one sentence.
        statements: The statements of the article that it is about, such as S17; none for a claim of somebody else.
        experiment: The experiment of the plan that it is, such as E3.
        pack: The group of studies that it belongs to; a file that names none is of bnlab's ``article``, or one's ``own``.
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
