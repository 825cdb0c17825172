"""Turns pydantic's errors into bnlab's messages: place, law, value, cure."""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bnlab.errors import did_you_mean
from bnlab.schema import RunConfig

_UNION_TAGS = {"mlp", "cnn", "sgd", "adam", "adamw"}
"""Pydantic inserts the chosen member of a union into the place of an error: optim.sgd.lr."""

_LAWS = {
    "device": "must be auto, cpu, mps, cuda or cuda:<number>",
    "name": "must be letters, digits, dots, dashes and underscores, since it becomes a folder's name",
}
"""Settings whose law pydantic would state as a regular expression."""


def say_what_is_wrong(error: ValidationError) -> str:
    """Return pydantic's first three errors, one line each."""
    return "\n".join(_line(fault) for fault in error.errors()[:3])


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


def _line(fault: Any) -> str:
    place = ".".join(part for part in fault["loc"] if isinstance(part, str) and part not in _UNION_TAGS)
    came, context = fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "value_error":  # our own cross-checks, whole sentences already
            return f"{context['error']}."
        case "model_type" | "model_attributes_type":
            section: Any = RunConfig.model_fields[place].annotation
            keys = ", ".join(f"{place}.{key}" for key in section.model_fields)
            return f"{place}={came}: {place} is a section. Set one of its keys: {keys}."
        case "extra_forbidden":
            return f"{place} is not a setting. Remove it from the command line, or from the file that sets it."
        case "missing":
            return f"{place} is missing. Write {place}=... or add it to the file of its group."
        case "string_pattern_mismatch":
            return f"{place} {_LAWS[place]}, got {came}."
        case "string_too_long":
            return f"{place} must have {context['max_length']} characters at most, got {len(came)}. Shorten it."
        case "string_type" if isinstance(came, bool | int | float):
            written = str(came).lower() if isinstance(came, bool) else came
            return f"""{place} must be text, got {written}. Quotes make it text: "{place}='{written}'"."""
        case "literal_error" | "union_tag_invalid":
            known = re.findall(r"'([^']+)'", str(context.get("expected") or context.get("expected_tags")))
            return f"{place}={came} is not known. {did_you_mean(str(came), known)}"
        case _:
            return f"{place} {fault['msg'].replace('Input should be', 'must be')}, got {came}."
