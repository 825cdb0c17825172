"""What a norm's own docstring says of it: the card that every norm of the catalog carries."""

import inspect
import re
from dataclasses import dataclass

from torch import nn

_SECTION = re.compile(r"^([A-Z][a-z]+):(.*)$")


@dataclass(frozen=True)
class Words:
    """A class's docstring, taken apart.

    Attributes:
        class_name: Of the layer.
        summary: Its first sentence; empty where it says nothing.
        formula: The lines of its first indented paragraph.
        sections: ``Axes``, ``Fails`` and ``Source`` in running text, those that it has.
    """

    class_name: str
    summary: str
    formula: tuple[str, ...]
    sections: dict[str, str]


def read_words(norm_class: type[nn.Module]) -> Words:
    """Take a norm's docstring apart.

    Args:
        norm_class: Ours or anybody's.

    Example:
        >>> from bnlab.norms.batch import BatchNorm
        >>> read_words(BatchNorm).formula[-1]
        'y_c = weight_c * (x - mean_c) / sqrt(var_c + eps) + bias_c'
    """
    said = norm_class.__doc__ or ""
    paragraphs = [block.split("\n") for block in re.split(r"\n\s*\n", inspect.cleandoc(said))]
    summary = " ".join(line.strip() for line in paragraphs[0])
    formula: tuple[str, ...] = ()
    sections: dict[str, str] = {}
    for lines in paragraphs[1:]:
        heading = _SECTION.match(lines[0])
        if heading:
            rest = [heading[2], *lines[1:]]
            sections.setdefault(heading[1], " ".join(line.strip() for line in rest).strip())
        elif not sections and not formula and all(line.startswith("    ") for line in lines):
            formula = tuple(re.sub(" {5,}", "    ", line.strip()) for line in lines)
    wanted = {name: sections[name] for name in ("Axes", "Fails", "Source") if sections.get(name)}
    return Words(norm_class.__name__, summary, formula, wanted)
