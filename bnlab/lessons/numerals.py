"""How a lesson writes numbers and indices, also in encodings with few signs."""

_PLAIN = str.maketrans(
    {"√": "sqrt", "·": "*", "×": "x", "²": "^2", "π": "pi", "↓": "v", "→": ">", "“": '"', "”": '"', "─": "-"}
)


def number(value: float) -> str:
    """Write a number for a sentence.

    Example:
        >>> number(4.0), number(1 / 3), number(2.3e-16)
        ('4', '0.3333', '2e-16')
    """
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e5:
        return f"{value:.0e}" if abs(value) < 1e-4 else f"{value:.3e}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


def cell(value: float) -> str:
    """Write a number for a column of a table: four decimals, or one digit and its power of ten; rounding errors are 0.

    Example:
        >>> cell(-1e-16), cell(1 / 3), cell(-4.2e-5), cell(123456.0)
        ('0.0000', '0.3333', '-4e-05', '1.235e+05')
    """
    if abs(value) >= 1e4:
        return f"{value:.3e}"
    if 1e-12 < abs(value) < 5e-5:
        return f"{value:.0e}"
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text


def legible(text: str, encoding: str) -> str:
    """Return a text with plain letters in place of signs, if the encoding cannot write the signs.

    Example:
        >>> legible("r = 1 / √(var + eps)", "cp1252")
        'r = 1 / sqrt(var + eps)'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def place_of(place: tuple[int, ...], letter: str = "x") -> str:
    """Write an index.

    Example:
        >>> place_of((0, 2))
        'x[0,2]'
    """
    return f"{letter}[{','.join(map(str, place))}]"
