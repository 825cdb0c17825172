"""What a lesson takes from a norm's docstring."""

from dataclasses import dataclass

from torch import nn

from bnlab.docstrings import formula_of, read_docstring

SECTIONS = ("Axes", "Fails", "Source")


@dataclass(frozen=True)
class Words:
    """The parts of a norm's docstring that a lesson shows.

    Attributes:
        class_name: Name of the layer's class.
        summary: The first sentence; empty where the class has no docstring of its own.
        formula: The lines of the first indented paragraph.
        sections: Those of `SECTIONS` that the docstring has, each as one line of text.
    """

    class_name: str
    summary: str
    formula: tuple[str, ...]
    sections: dict[str, str]


def read_words(norm_class: type[nn.Module]) -> Words:
    """Read a norm's docstring.

    Args:
        norm_class: A norm of bnlab or any other layer.

    Example:
        >>> from bnlab.norms.batch import BatchNorm
        >>> read_words(BatchNorm).formula[-1]
        'y_c = weight_c * (x - mean_c) / sqrt(var_c + eps) + bias_c'
    """
    said = read_docstring(norm_class.__doc__)
    sections = {name: " ".join(said.sections[name].split()) for name in SECTIONS if said.sections.get(name)}
    return Words(norm_class.__name__, said.summary, formula_of(said.about), sections)
