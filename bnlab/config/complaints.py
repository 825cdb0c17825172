"""Turns pydantic's errors into bnlab's messages: place, law, value, cure."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bnlab.config.folders import default_options
from bnlab.errors import did_you_mean
from bnlab.schema import AnyOptimConfig, RunConfig
from bnlab.schema_models import BNLABS, OWN, AnyModelConfig
from bnlab.schema_types import names_of

_UNION_TAGS = {BNLABS, OWN, *names_of(AnyModelConfig), *names_of(AnyOptimConfig)}
"""Pydantic inserts the chosen member of a union into the place of an error: optim.sgd.lr."""

_LAWS = {
    "device": "must be auto, cpu, mps, cuda or cuda:<number>",
    "name": "must be letters, digits, dots, dashes and underscores, since it becomes a folder's name",
}
"""Settings whose law pydantic would state as a regular expression."""


def say_what_is_wrong(error: ValidationError) -> str:
    """Return pydantic's first three errors, one line each; all that is missing stands in one."""
    missing = [fault for fault in error.errors() if fault["type"] in {"missing", "union_tag_not_found"}]
    lines = [_line(fault) for fault in error.errors() if fault not in missing][: 2 if missing else 3]
    return "\n".join([_missing(missing), *lines] if missing else lines)


def type_fault(value: Any, adapter: TypeAdapter[Any]) -> str | None:
    """Return what is wrong with a value, such as ``must be a valid integer, got x.``; None: it has the right type.

    Args:
        value: The value as YAML reads it. It is not converted: a text is no number, and true is none either.
        adapter: The type that the value must have.
    """
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        laws = dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in error.errors())
        return f"must be {' or '.join(laws)}, got {value}."
    return None


def _place(fault: Any) -> str:
    return ".".join(part for part in fault["loc"] if isinstance(part, str) and part not in _UNION_TAGS)


def _missing(faults: Sequence[Any]) -> str:
    places = [_place(fault) + ".name" * (fault["type"] == "union_tag_not_found") for fault in faults]
    group = places[0].partition(".")[0]
    base = next((part for part in faults[0]["loc"] if part in _UNION_TAGS), default_options().get(group))
    is_one = len(places) == 1
    cure = f"Add {'it' if is_one else 'them'} to the file of {group}=..."
    if base:
        cure += f", or let that file begin with 'defaults: [{base}]'"
    return f"{', '.join(places)} {'is' if is_one else 'are'} missing. {cure}."


def _line(fault: Any) -> str:
    place = _place(fault)
    came, context = fault["input"], fault.get("ctx", {})
    is_in_a_list = bool(fault["loc"]) and isinstance(fault["loc"][-1], int)  # a check across sections has no place
    if fault["type"].startswith(("int", "float", "finite")) and isinstance(came, str):
        came = f"the text '{came}'" if came.replace(".", "").isdigit() else came
    if isinstance(came, int) and abs(came) >= 10**20:
        came = f"a number of {len(str(abs(came)))} digits"
    match fault["type"]:
        case "value_error":  # our own cross-checks, whole sentences already
            return f"{context['error']}."
        case "model_type" | "model_attributes_type":
            section: Any = RunConfig
            for part in place.split("."):
                section = getattr(getattr(section, "model_fields", {}).get(part), "annotation", None)
            keys = ", ".join(f"{place}.{key}" for key in getattr(section, "model_fields", ()))
            cure = f" Set one of its keys: {keys}." if keys else " Set its keys, one by one."
            return f"{place}={came}: {place} is a section.{cure}"
        case "extra_forbidden":
            return f"{place} is not a setting. Remove it from the command line, or from the file that sets it."
        case "string_pattern_mismatch":
            return f"{place} {_LAWS[place]}, got {came}."
        case "string_too_long":
            return f"{place} must have {context['max_length']} characters at most, got {len(came)}. Shorten it."
        case "string_type" if place == "device":
            return f"{place} {_LAWS[place]}, got {came}."
        case "string_type" if isinstance(came, bool | int | float) and not is_in_a_list:
            came = str(came).lower() if isinstance(came, bool) else came
            written = "..." if isinstance(came, float) else came  # which may have been typed otherwise: 1e5
            return f"""{place} must be text, got {came}. Quotes make it text: "{place}='{written}'"."""
        case "union_tag_invalid":
            known = re.findall(r"'([^']+)'", str(context["expected_tags"]))
            return f"{place}.name={context['tag']} is not known. {did_you_mean(context['tag'], known)}"
        case "list_type" if came is not None:
            return f"{place} must be a list, got {came}. Brackets make it one: '{place}=[{came}]'."
        case "literal_error":
            known = re.findall(r"'([^']+)'", str(context["expected"])) or re.findall(r"\d+", str(context["expected"]))
            return f"{place}={came} is not known. {did_you_mean(str(came), known)}"
        case _:
            law = fault["msg"].replace("Input should be", "must be")
            return f"{place} {law}, got {came}.{_number_meant(fault)}"


def _number_meant(fault: Any) -> str:
    """Return how to write a whole number that came as 1e2, 100.0 or 007; else nothing."""
    came = fault["input"]
    if not fault["type"].startswith("int") or isinstance(came, bool):
        return ""
    if isinstance(came, float) and came.is_integer() and abs(came) < 1e15:
        return f" Write {int(came)}."
    return f" Write {int(came)}." if isinstance(came, str) and came.isdecimal() and len(came) < 16 else ""
