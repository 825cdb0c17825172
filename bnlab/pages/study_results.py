"""What `bnlab study` leaves: one file of JSON per study and scale, checked as it is read."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from bnlab.errors import StudyError

Lang = Literal["en", "zh"]
Word = Literal["supported", "refuted", "inconclusive"]


_CHINESE = re.compile("[\u4e00-\u9fff]")


class _Read(BaseModel):
    """Frozen; keys that this version does not know are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Texts(_Read):
    """One text in both languages."""

    en: str = ""
    zh: str = ""

    def in_lang(self, lang: Lang) -> tuple[str, Lang]:
        """Return the text in a language, or in the other one where it has none; and which of them it is.

        A text that stands for both is one that nobody translated: its letters tell its language.
        """
        if self.en == self.zh:
            return self.en, "zh" if _CHINESE.search(self.en) else "en"
        other: Lang = "zh" if lang == "en" else "en"
        own: str = getattr(self, lang)
        return (own, lang) if own else (getattr(self, other), other)


class Bracket(_Read):
    """A figure that is known between bounds only; None where there is no bound."""

    seen: float | None = None
    least: float | None = None
    greatest: float | None = None


class Stress(_Read):
    """In how many analyses of the same runs the verdict holds."""

    agree: int = 0
    of: int = 0
    flips: tuple[str, ...] = ()


def _as_texts(given: Any) -> Any:
    return {"en": given} if isinstance(given, str) else {} if given is None else given


def _as_tuple(given: Any) -> Any:
    return () if given is None else given


_Texts = Annotated[Texts, BeforeValidator(_as_texts)]
_Figures = Annotated[tuple[float | Bracket | None, ...], BeforeValidator(_as_tuple)]
_Numbers = Annotated[tuple[float | None, ...], BeforeValidator(_as_tuple)]
_Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
_String = Annotated[str, BeforeValidator(lambda given: "" if given is None else given)]


class Condition(_Read):
    """One condition of a claim, with its verdict and the figures behind it.

    Attributes:
        kind: ``pair``, ``arm``, ``recovered`` or ``law``.
        effect: The figure that is judged, in ``unit``; for a ratio the ratio itself.
        first: Figures of the first arm, or of the only one, one per seed.
        second: Figures of the second arm.
        method: How the interval was made, in few words; empty in older files.
        differences: What is averaged: the difference or ratio of each seed, in ``unit``.
    """

    part: _String = ""
    kind: _String = "pair"
    says: _Texts = Texts()
    statement: _String = ""
    metric: _String = ""
    arms: _Strings = ()
    where: _Strings = ()
    bound: _String = ""
    verdict: Word
    reason: _String = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    unit: _String = ""
    level: float | None = None
    method: _String = ""
    n: int | None = None
    sesoi: float | None = None
    seeds: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)] = ()
    first: _Figures = ()
    second: _Figures = ()
    differences: _Numbers = ()
    learning_rates: _Numbers = ()
    stress: Annotated[Stress, BeforeValidator(lambda given: given or {})] = Stress()
    sentences: _Strings = ()


class Part(_Read):
    """A sweep of a study."""

    sweep: _String = ""
    words: _Strings = ()
    command: _String = ""
    tuning: str | None = None


class Look(_Read):
    """A verdict that the study gave earlier."""

    made: _String = ""
    n: int | None = None
    verdict: _String = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None


class StudyResult(_Read):
    """One study at one scale.

    Attributes:
        pack: The group of studies that it belongs to; empty in older files.
        reason: Why the verdict is what it is, one sentence.
        rule: The criterion with bounds in the units of the effects; empty in older files.
        decisive: The place of the condition whose effect is the study's; older files have that of the first one.
        conditions: What must hold, all of it.
        checks: What the experiment presupposes: where one is not supported, the study has no verdict.
        also: What decides nothing.
    """

    study: Annotated[str, Field(min_length=1)]
    scale: _String = ""
    sha256: _String = ""
    made: _String = ""
    version: _String = ""
    claim: str
    claim_zh: _String = ""
    statement: _String = ""
    experiment: _String = ""
    pack: _String = ""
    source: _String = ""
    literature: _Texts = Texts()
    fools: _Texts = Texts()
    protocol: _Texts = Texts()
    verdict: Word
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    unit: _String = ""
    n: int | None = None
    sesoi: float | None = None
    criterion: _String = ""
    rule: _String = ""
    reason: _String = ""
    decisive: Annotated[int, Field(ge=0), BeforeValidator(lambda given: 0 if given is None else given)] = 0
    stress: Annotated[Stress, BeforeValidator(lambda given: given or {})] = Stress()
    seconds: float | None = None
    seconds_wall: float | None = None
    command: _String = ""
    looks: Annotated[tuple[int, ...], BeforeValidator(lambda given: given if isinstance(given, list) else ())] = ()
    to_change: _String = ""
    changed: _String = ""
    history: Annotated[tuple[Look, ...], BeforeValidator(_as_tuple)] = ()
    holm_p: float | None = None
    conditions: Annotated[tuple[Condition, ...], BeforeValidator(_as_tuple)] = ()
    checks: Annotated[tuple[Condition, ...], BeforeValidator(_as_tuple)] = ()
    also: Annotated[tuple[Condition, ...], BeforeValidator(_as_tuple)] = ()
    parts: Annotated[dict[str, Part], BeforeValidator(lambda given: given or {})] = {}

    @property
    def texts(self) -> Texts:
        """The claim in both languages."""
        return Texts(en=self.claim, zh=self.claim_zh)

    @property
    def told_rule(self) -> str:
        """When it is supported and when refuted, in words; bounds in the units of the effects where the file has it."""
        return self.rule or self.criterion

    @property
    def statements(self) -> tuple[str, ...]:
        """The ids of the article's statements that the study is about."""
        return statements_in(self.statement)

    @property
    def decisive_condition(self) -> Condition | None:
        """The condition whose effect is the study's; None where it has none."""
        return self.conditions[self.decisive] if self.decisive < len(self.conditions) else None

    @property
    def failed_check(self) -> Condition | None:
        """The first check that is not supported, which leaves the study without a verdict; None: all hold."""
        return next((one for one in self.checks if one.verdict != "supported"), None)

    @property
    def is_of_definitions(self) -> bool:
        """Whether all of its conditions are computed, so that it takes no part in a family of claims."""
        return bool(self.conditions) and all(one.kind == "law" for one in self.conditions)


def statements_in(text: str) -> tuple[str, ...]:
    """Return the ids of statements in a text, each once.

    Example:
        >>> statements_in("S19, S27")
        ('S19', 'S27')
    """
    return tuple(dict.fromkeys(re.findall(r"\bS\d+\b", text)))


def shortened(statements: Iterable[str]) -> str:
    """Return the ids of statements, those in a row as one.

    Example:
        >>> shortened(["S1", "S2", "S3", "S24"]), shortened(["S27", "S17"])
        ('S1–S3, S24', 'S17, S27')
    """
    numbers = sorted(int(name[1:]) for name in statements)
    rows: list[list[int]] = []
    for each in numbers:
        if rows and each == rows[-1][-1] + 1:
            rows[-1].append(each)
        else:
            rows.append([each])
    texts = [f"S{row[0]}–S{row[-1]}" if len(row) > 2 else ", ".join(f"S{each}" for each in row) for row in rows]
    return ", ".join(texts)


def is_study_file(path: Path) -> bool:
    """Return whether a path is a file of JSON, which only a study leaves to be shown."""
    return path.suffix == ".json" and path.is_file()


def study_files(folder: Path) -> list[Path]:
    """Return the files of studies in a folder, by name; none where it holds runs or anything else."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("sweep.json", "manifest.json", "summary.json")):
        return []
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith(".") and path.is_file())


def read_studies(paths: Iterable[Path]) -> list[StudyResult]:
    """Read the files of studies.

    Args:
        paths: Files of verdicts, NAME-SCALE.json.

    Raises:
        StudyError: A file cannot be read, is no JSON, or is not the result of a study.
    """
    return [read_study(path) for path in paths]


def read_study(path: Path) -> StudyResult:
    """Read the file of a study.

    Args:
        path: A file of a verdict, NAME-SCALE.json.

    Raises:
        StudyError: It cannot be read, is no JSON, or is not the result of a study.
    """
    cure = "Make it again: bnlab study NAME."
    try:
        found = from_json(path.read_bytes(), allow_inf_nan=False)
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}. {cure}") from error
    except ValueError as error:
        raise StudyError(f"{path} should be a study's result in JSON, it is not: {error}. {cure}") from error
    try:
        return StudyResult.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise StudyError(f"{path} is not the result of a study: {place}: {first['msg'].lower()}. {cure}") from error
