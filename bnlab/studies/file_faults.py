"""Turns pydantic's errors about a study file into one sentence: place, law, what came, cure."""

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bnlab.studies.condition import Condition, Text
from bnlab.studies.study_file import PartOfScale, Scale, StudyFile, Tune

_PLACES: dict[type[BaseModel], str] = {
    StudyFile: "the file itself",
    Scale: "scales.NAME",
    PartOfScale: "scales.NAME.parts.NAME",
    Tune: "scales.NAME.parts.NAME.tune",
    Condition: "a condition",
    Text: "a text",
}
"""The parts of a study file that have keys, as a reader names them."""

_KEYS = sorted({key for kind in _PLACES for key in kind.model_fields})
"""All keys of a study file, on any level."""

LONGEST_SHOWN = 60
"""Characters of a value that are shown in a message."""


def first_fault(error: ValidationError, content: Any) -> str:
    """Return the first fault of a file in one sentence, with the number of the others.

    A key that is misspelled comes first: it is the cause of a key that is missing.

    Args:
        error: What pydantic found.
        content: The file's content.
    """
    faults = sorted(error.errors(), key=lambda one: _meant(one) is None)
    fault = faults[0]
    places = {_place_of(one, content): None for one in faults if one is fault or not _is_explained(one, fault)}
    place = next(iter(places))
    num_others = sum(not any(two.startswith(f"{one}.") for two in places) for one in places) - 1  # of a list its items
    more = f" (and {num_others} more)" if num_others > 0 else ""
    law, cure = _law(fault)
    sentence = f"{law}{more}."
    return (f"{place}: {sentence}" if place else sentence) + (f" {cure}" if cure else "")


def _meant(fault: ErrorDetails) -> str | None:
    """Return the key that was meant where a key is not known; None where nothing is near, or it is another fault."""
    if fault["type"] != "extra_forbidden":
        return None
    if fault["loc"][-1] in _KEYS:
        return str(fault["loc"][-1])
    return next(iter(difflib.get_close_matches(str(fault["loc"][-1]), _KEYS, n=1, cutoff=0.7)), None)


def _is_explained(fault: ErrorDetails, first: ErrorDetails) -> bool:
    """Whether a key is missing since the first fault is that key, misspelled."""
    return fault["type"] == "missing" and fault["loc"] == (*first["loc"][:-1], _meant(first))


def _law(fault: ErrorDetails) -> tuple[str, str]:
    """Return what must hold and what came instead, and how to mend it, which may be empty."""
    came, context = str(fault["input"]), fault.get("ctx", {})
    came = came if len(came) <= LONGEST_SHOWN else f"{came[:LONGEST_SHOWN]}..."
    match fault["type"]:
        case "missing":
            return f"it has too few items, got {came}" if isinstance(fault["loc"][-1], int) else "it is missing", ""
        case "extra_forbidden":
            return "there is no such key", _cure_of_key(str(fault["loc"][-1]), _meant(fault))
        case "tuple_type" | "list_type":
            is_one = isinstance(fault["input"], str | int | float)
            return f"must be a list, got {came}", f"Brackets make it one: [{came}]." if is_one else ""
        case "model_type" | "model_attributes_type" | "dict_type" if context.get("class_name") == "Text":
            return f"must be a text, or one in English and one in Chinese, {{en: ..., zh: ...}}, got {came}", ""
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must hold keys and values, got {came}", ""
        case "string_type":
            is_one = isinstance(fault["input"], int | float)
            return f"must be a text, got {came}", "Put it into quotes." if is_one else ""
        case "string_too_short":
            return "must not be empty", ""
        case "too_long":
            return f"must have {context['max_length']} items at most, got {context['actual_length']}", ""
        case "too_short":
            return f"must have {context['min_length']} or more items, got {context['actual_length']}", ""
        case "float_parsing" | "float_type" | "finite_number":
            return f"must be a number, got {came}", "Write a share: 0.01 is 1%." if came.endswith("%") else ""
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f"must be a whole number, got {came}", ""
        case "value_error":
            return str(context["error"]).rstrip("."), ""
        case _:
            return f"{fault['msg'].replace('Input should be', 'must be').rstrip('.')}, got {came}", ""


def _cure_of_key(key: str, meant: str | None) -> str:
    """Return which parts have a key that stands in the wrong one, or which key was meant; empty where none is near."""
    if key in _KEYS:
        return f"It is a key of {' or '.join(place for kind, place in _PLACES.items() if key in kind.model_fields)}."
    return f"Did you mean {meant}?" if meant else ""


def _place_of(fault: ErrorDetails, content: Any) -> str:
    """Return where in a file a fault is: of a value that was tried in several forms, the place of the value."""
    place: list[str] = []
    for key in fault["loc"]:
        is_there = (
            key in content
            if isinstance(content, dict)
            else isinstance(content, list) and isinstance(key, int) and key < len(content)
        )
        if not is_there and (fault["type"] != "missing" or not isinstance(content, dict)):
            break
        place.append(str(key))
        content = content[key] if is_there else None
    return ".".join(place)
