"""Texts of users without anything that a terminal or a browser would obey."""

_UNSEEN = (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Control characters, but for tab and ends of lines; and those that turn the direction of the text around them."""

_TO_MARK = dict.fromkeys(_UNSEEN, "�")


def plain(text: str) -> str:
    """Return a text in which each character that is obeyed, not seen, is replaced by a mark.

    Example:
        >>> plain("a" + chr(27) + "[31mb")
        'a�[31mb'
    """
    return text.translate(_TO_MARK)
