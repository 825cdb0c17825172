"""Sentences that verdicts are explained with, in Chinese: their English is made by the rooms that judge."""

import functools
import re

from bnlab.pages.study_results import StudyResult, Texts
from bnlab.pages.words import HERE, read_own_yaml

_PLACE = re.compile(r"\\\{(\w+)\\\}")

_MARKS = (("; ", "\uff1b"), (": ", "\uff1a"))
"""Between the parts of a list, and behind a name: in English and Chinese."""


_NUMBER, _NAME, _ANY = "[-+]?[0-9](?:[0-9.,e+-]*[0-9])?", "(?:(?!: |; ).)+?", ".+?"
_AMOUNT = f"{_NUMBER}(?:%| points?| times| nats| decades?| steps| seconds)?"

_SORTS = {"m": _NUMBER, "n": _NUMBER, "p": _AMOUNT, "q": _AMOUNT, "k": _NAME}
"""Places that do not stand for any part."""


def _group(place: re.Match[str]) -> str:
    return f"(?P<{place[1]}>{_SORTS.get(place[1], _ANY)})"


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the sentences as patterns with their Chinese, those with the most words of their own first."""
    listed = read_own_yaml(HERE / "sentences.yaml")
    listed.sort(key=lambda one: -len(re.sub(r"{\w+}", "", one["en"])))
    return tuple((re.compile(_PLACE.sub(_group, re.escape(one["en"]))), one["zh"]) for one in listed)


def in_chinese(text: str) -> str | None:
    """Return an English sentence of a verdict in Chinese; None where it is not known.

    Its parts are translated alike, and so are those of a list, and what stands behind a name; those that are not known,
    such as the names of arms and numbers, stay.

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
    for mark, chinese in _MARKS:
        first, is_there, rest = text.partition(mark)
        known = [in_chinese(part) for part in (first, rest) if is_there]
        if any(known):
            return chinese.join(own or part for own, part in zip(known, (first, rest), strict=True))
    return None


def in_both(texts: Texts) -> Texts:
    """Return a text with its Chinese, where it has none since it was made by the room that judged.

    A text of somebody's file that nobody translated has the same words in both languages, and stays.

    Args:
        texts: The text as the results have it.
    """
    return texts if texts.zh or not texts.en else Texts(en=texts.en, zh=in_chinese(texts.en) or "")


def reason_of(result: StudyResult) -> Texts:
    """Return why the verdict of a study is what it is; a check that failed is named in either language.

    Args:
        result: What the study left.
    """
    chinese = in_chinese(result.reason) or ""
    failed = result.failed_check
    if failed is not None and failed.says.in_lang("zh")[1] == "zh" and failed.says.en:
        english = failed.says.en.removeprefix("Check: ").rstrip(".")
        chinese = chinese.replace(english, failed.says.zh.removeprefix("检查：").rstrip("。"))
    return Texts(en=result.reason, zh=chinese)
