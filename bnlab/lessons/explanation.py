"""The content of a lesson on one norm, as numbers and words, before it is drawn."""

import copy
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bnlab.docstrings import formula_of, read_docstring
from bnlab.errors import ConfigError
from bnlab.lessons.example import (
    SMALL_SHAPE,
    Example,
    example_gradient,
    example_input,
    set_scale_and_shift,
    work_through,
)
from bnlab.lessons.modes import Modes, compare_modes
from bnlab.lessons.sharing import MAX_ROWS, Sharing, find_sharing, run_layer
from bnlab.norms.catalog import build_norm

SHAPES = (SMALL_SHAPE, (8, 3), (2, 8, 2, 2), (2, 8, 4), (2, 8, 2, 2, 2))
"""Shapes to try in this order if the user names none: some norms need more samples, positions, or channels."""

MAX_NUMEL = 1 << 21
"""Largest number of values in an input: 16 MiB in float64. A lesson holds about 12 such tensors and runs the layer some
20 times."""

SMALL_COLUMNS = 3
"""Inputs of up to this many channels are shown with all values, beside the outputs, in 80 columns."""


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


@dataclass(frozen=True)
class Explanation:
    """A lesson on one norm.

    Attributes:
        norm: Name of the norm in the catalog, or package.module:Class.
        options: The options that the user gave to its constructor.
        shape: Shape of the input (N, C, *S).
        words: The parts of the norm's docstring.
        sharing: Which values share a statistic.
        small: The whole input, row by row, if it is small enough to be shown; else None.
        small_output: The output of a new layer for it, with scale 1 and shift 0; None like ``small``.
        example: The numerical example on the first statistic.
        modes: The differences between training and eval mode.
        transforms_weight: Whether the norm also standardizes the weight of the linear map before it.
    """

    norm: str
    options: dict[str, Any]
    shape: tuple[int, ...]
    words: Words
    sharing: Sharing
    small: tuple[tuple[float, ...], ...] | None
    small_output: tuple[tuple[float, ...], ...] | None
    example: Example
    modes: Modes
    transforms_weight: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; numbers that are not finite become None."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)), parse_constant=lambda _: None)
        return plain


def explain(norm: str, shape: tuple[int, ...] | None = None, options: Mapping[str, Any] | None = None) -> Explanation:
    """Explain a norm.

    Args:
        norm: A name of the catalog, or package.module:Class.
        shape: Shape of the input (N, C, *S); None: the first of `SHAPES` that the norm accepts.
        options: Options for the norm's constructor; None: its defaults.

    Raises:
        ConfigError: The norm or an option does not exist, or the norm does not accept the shape.

    Example:
        >>> lesson = explain("batch", (4, 8, 4, 4))
        >>> [(axis.letter, axis.shared) for axis in lesson.sharing.axes], lesson.sharing.num_statistics
        ([('N', 4), ('C', 1), ('H', 4), ('W', 4)], 8)
    """
    options = dict(options or {})
    if shape is None:
        shape = _first_that_fits(norm, options)
    if math.prod(shape) > MAX_NUMEL:
        raise ConfigError(
            f"--shape must have at most {MAX_NUMEL:,} values, got {math.prod(shape):,}. "
            "A smaller batch or image shows the same."
        )
    layer = build_norm(norm, shape[1], **options).double()
    sharing = find_sharing(layer, shape)
    x, g = example_input(shape), example_gradient(shape)
    is_small = len(shape) == 2 and shape[0] <= MAX_ROWS and shape[1] <= SMALL_COLUMNS
    as_built = run_layer(copy.deepcopy(layer), x).detach()
    if not as_built.isfinite().all():
        raise ConfigError(
            f"norm={norm} gives NaN or infinity for a batch of moderate numbers of shape {shape}: there is nothing to "
            "explain. Try bnlab check."
        )
    set_scale_and_shift(layer)
    example = work_through(layer, x, g, sharing)
    return Explanation(
        norm=norm,
        options=options,
        shape=shape,
        words=read_words(type(layer)),
        sharing=sharing,
        small=_rows(x) if is_small else None,
        small_output=_rows(as_built) if is_small else None,
        example=example,
        modes=compare_modes(layer, x, g, sharing, example.story),
        transforms_weight=layer.weight_parametrization is not None,
    )


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


def parse_shape(text: str) -> tuple[int, ...]:
    """Read N,C or N,C,*S.

    Raises:
        ConfigError: The text is not 2 to 5 whole numbers above 0.

    Example:
        >>> parse_shape("4,8,4,4")
        (4, 8, 4, 4)
    """
    sizes = [word.strip() for word in text.split(",")]
    if not (2 <= len(sizes) <= 5 and all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes)):
        raise ConfigError(
            f"--shape takes 2 to 5 whole numbers above 0, batch and channels first, got '{text}'. "
            "Examples: --shape 4,3 or --shape 4,8,4,4."
        )
    return tuple(map(int, sizes))


def _first_that_fits(norm: str, options: Mapping[str, Any]) -> tuple[int, ...]:
    refusals: dict[str, ConfigError] = {}
    for shape in SHAPES:
        try:
            run_layer(build_norm(norm, shape[1], **options).double(), example_input(shape))
        except ConfigError as error:
            refusals.setdefault(str(error), error)
        else:
            return shape
    first = next(iter(refusals.values()))
    if len(refusals) == 1:  # the shape is not the reason
        raise first
    raise ConfigError(f"norm={norm} needs a --shape of its own; at --shape 4,3 it says: {first}")


def _rows(values_NC: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values_NC.tolist())
