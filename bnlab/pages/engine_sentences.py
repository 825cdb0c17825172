"""Sentences that verdicts are explained with, in Chinese: their English is made by the rooms that judge."""

import functools
import re
from pathlib import Path

import yaml

_PLACE = re.compile(r"\\\{(\w+)\\\}")


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    listed = yaml.safe_load(Path(__file__).with_name("sentences.yaml").read_text(encoding="utf-8"))
    return tuple((re.compile(_PLACE.sub(r"(?P<\1>.+?)", re.escape(one["en"]))), one["zh"]) for one in listed)


def in_chinese(text: str) -> str | None:
    """Return an English sentence of a verdict in Chinese; None where it is not known.

    Its parts are translated alike; those that are not known, such as the names of arms and numbers, stay.

    Args:
        text: The sentence, or a part of one.

    Example:
        >>> in_chinese("without seed 3: refuted")
        '去掉种子 3：否定'
    """
    for pattern, chinese in _patterns():
        found = pattern.fullmatch(text)
        if found is not None:
            return chinese.format(**{name: in_chinese(part) or part for name, part in found.groupdict().items()})
    return None
