"""The shapes of the JSON files of a run: what a reader may rely on, checked in this one place.

Keys that no reader needs may hold anything, and most keys may be missing, as in runs of older versions.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from bnlab.errors import DamagedRunError
from bnlab.records import SplitName, Status

_LENIENT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

_LARGEST_INT = 2**53
"""Up to here each integer is a float too."""

_Number = float | None
_Step = Annotated[int, Field(ge=0, le=_LARGEST_INT)]
_Integer = Annotated[int, Field(ge=-_LARGEST_INT, le=_LARGEST_INT)]


class _Common(TypedDict):
    step: _Step
    split: SplitName | None
    values: dict[str, _Number]
    nonfinite: NotRequired[dict[str, Literal["nan", "inf", "-inf"]]]


@with_config(_LENIENT)
class _Record(_Common):
    kind: Literal["step", "eval", "timing"]
    name: str | None


@with_config(_LENIENT)
class _DiagnosticRecord(_Common):
    kind: Literal["diagnostic"]
    name: str


@with_config(_LENIENT)
class _EndRecord(_Common):
    kind: Literal["end"]
    name: Literal["finished", "diverged"]


@with_config(_LENIENT)
class _Summary(TypedDict, total=False):
    run_id: str
    status: Status
    seed: _Integer
    test_accuracy: _Number
    test_loss: _Number
    validation_accuracy: _Number
    validation_loss: _Number
    train_loss: _Number
    steps: _Step | None
    duration_s: _Number
    diverged_at_step: _Step | None


def _named(section: Any) -> Any:
    """Return a section of a config, or its name alone, as in runs of older versions.

    Raises:
        ValueError: It has no name.
    """
    name = section.get("name") if isinstance(section, Mapping) else section
    if not isinstance(name, str):
        raise ValueError("it should be a section with a name")
    return section


def _with_rate(section: Any) -> Any:
    """Return a section whose lr, if it has one, is a number.

    Raises:
        ValueError: It is none.
    """
    rate = section.get("lr") if isinstance(section, Mapping) else None
    is_number = isinstance(rate, float) or (isinstance(rate, int) and abs(rate) <= _LARGEST_INT)
    if rate is not None and (isinstance(rate, bool) or not is_number or not math.isfinite(rate)):
        raise ValueError("lr should be a number")
    return section


def _with_names(section: Any) -> Any:
    """Return a section whose lists of diagnostics, if it has them, are lists of names.

    Raises:
        ValueError: They are not.
    """
    for key in ("names", "tensorboard"):
        names = section.get(key) if isinstance(section, Mapping) else None
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"{key} should be a list of names")
    return section


_Section = Annotated[Any, AfterValidator(_named)]


@with_config(_LENIENT)
class _Config(TypedDict, total=False):
    seed: _Integer
    name: str | None
    loggers: list[str]
    norm: _Section
    model: _Section
    data: _Section
    optim: Annotated[_Section, AfterValidator(_with_rate)]
    diagnostics: Annotated[Any, AfterValidator(_with_names)]


@with_config(_LENIENT)
class _Manifest(TypedDict, total=False):
    status: Status
    run_id: str | None
    started: str | None
    duration_s: _Number
    records_bytes: _Step | None
    resumed: list[Any]
    config: _Config


@with_config(_LENIENT)
class _Plan(TypedDict):
    overrides: list[str]
    runs: list[str]
    earlier: NotRequired[list[list[str]]]
    places: NotRequired[dict[str, dict[str, str | None]]]


_AnyRecord = Annotated[_Record | _DiagnosticRecord | _EndRecord, Field(discriminator="kind")]

RECORD, RECORDS = TypeAdapter[Any](_AnyRecord), TypeAdapter[Any](list[_AnyRecord])
SUMMARY, MANIFEST, CONFIG, PLAN = (TypeAdapter[Any](shape) for shape in (_Summary, _Manifest, _Config, _Plan))


def read_object(path: Path, shape: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        path: The file, such as manifest.json.
        shape: The shape that it must have.

    Raises:
        DamagedRunError: The file is missing, cannot be read, or has another shape.
    """
    facts, problems = read_what_fits(path, shape)
    if problems:
        raise DamagedRunError(f"{path.parent}{os.sep}{'; '.join(problems)}")
    return facts


def read_what_fits(path: str | Path, shape: TypeAdapter[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return as much of a JSON object as has the right shape, and sentences on the rest, which begin with its file.

    Args:
        path: The file, such as manifest.json. A missing one is a problem too.
        shape: The shape that it should have.
    """
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123  (half the time of Path.open, for each of thousands of runs)
            return shape.validate_json(text := file.read()), []
    except ValidationError:
        name = Path(path).name
    except FileNotFoundError:
        return {}, [f"{Path(path).name} is missing"]
    except OSError as error:
        return {}, [f"{Path(path).name} cannot be read: {error.strerror}"]
    try:
        facts = from_json(text)
    except ValueError as error:
        return {}, [f"{name} cannot be read: {error}"]
    if not isinstance(facts, dict):
        return {}, [f"{name} cannot be read: it holds no JSON object"]
    return facts, [f"{name}: {problem}" for problem in drop_what_does_not_fit(facts, shape)]


def drop_what_does_not_fit(facts: dict[str, Any], shape: TypeAdapter[Any]) -> list[str]:
    """Remove the values of a dictionary that do not have the right shape; return a sentence for each."""
    try:
        shape.validate_python(facts)
    except ValidationError as error:
        return [_drop(facts, one["loc"], one["msg"]) for one in error.errors(include_url=False)]
    return []


def _drop(facts: dict[str, Any], place: tuple[int | str, ...], law: str) -> str:
    """Remove the value at a place, or the whole list that it stands in; return what is wrong with it."""
    around: Any = facts
    for number, key in enumerate(place):
        inner = around.get(key)
        if not isinstance(inner, dict) or number == len(place) - 1:
            came = repr(around.pop(key, None))
            law = law.removeprefix("Value error, ").replace("Input should", "it should")
            return f"{'.'.join(map(str, place))} is wrong ({law}), got {came if len(came) <= 40 else came[:40] + '...'}"
        around = inner
    return law


def wrong_line(error: ValidationError) -> str:
    """Return what is wrong with a record, in a few words."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return f"{place}: {first['msg']}" if place else first["msg"]
