"""The title of a race."""

import re
from collections.abc import Sequence

from bnlab.pages.words import Words

UNNAMED = re.compile(r"[0-9a-f]{8}")
"""The name of a sweep that was given none."""

MOST_NAMED = 3
"""Arms that a title names besides the first one; of more it tells the number."""


def race_title(name: str, labels: Sequence[str], words: Words) -> str:
    """Return the title of a race: its name, or its arms where it was given none and its folder is called by digits.

    Args:
        name: The name of the folder of its runs.
        labels: The labels of its arms, two or more.
        words: The fixed words of the page's language.

    Example:
        >>> race_title("6cffadc5", ["batch", "layer", "none"], Words("en"))
        'batch against layer and none'
        >>> race_title("pilot", ["batch", "none"], Words("en"))
        'Race pilot'
    """
    if not UNNAMED.fullmatch(name):
        return words("race_title", name=name)
    first, *others = labels
    if len(others) > MOST_NAMED:
        return words("race_of_arms", first=first, others=words("many_others", number=len(others)))
    *named, last = others
    told = words("and_others", named=words("comma").join(named), last=last) if named else last
    return words("race_of_arms", first=first, others=told)
