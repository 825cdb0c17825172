"""What a study is decided by: a figure, of which arms, and where its interval must lie."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bnlab.errors import ConfigError, did_you_mean
from bnlab.studies.bounds import check_bounds
from bnlab.studies.definitions import KNOWN
from bnlab.studies.quantity import Quantity, read_quantity


class Strict(BaseModel):
    """A part of a file that has these keys and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Strict):
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


class Condition(Strict):
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
        if self.law is not None and self.law not in KNOWN:
            raise ValueError(f"law {self.law} is not known. {did_you_mean(self.law, KNOWN)}")
        if self.metric is not None:
            try:
                quantity = self.quantity()
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("--")) from None
            if self.arms is not None and self.arms[0] == self.arms[1]:
                raise ValueError(f"arms must be two different ones, got {self.arms[0]} twice")
            try:
                check_bounds(quantity, self.kind, self.ends)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def sesoi(self) -> float:
        """The smallest effect of interest: the bound that the interval must reach."""
        if self.within is not None:
            return self.within if isinstance(self.within, float) else (self.within[1] - self.within[0]) / 2
        bound = self.above if self.above is not None else self.below
        assert bound is not None
        return bound

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
