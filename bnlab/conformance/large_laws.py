"""The law of large inputs: what is right on small ones is right where there are many samples, channels and values.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnlab.conformance.examples import Example
from bnlab.conformance.gradient_laws import gradient_given
from bnlab.conformance.inputs import general_shape
from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply, fails
from bnlab.conformance.observing import can_be_built, ingredients, recipe_of, running_of
from bnlab.conformance.recipes import Ingredients, Recipe, cook
from bnlab.conformance.subject import LayerError, Subject
from bnlab.conformance.suspects import HELD, IN_TRAINING, Explanation, agrees, difference

LARGE_CLOSE = 1e-4
"""Largest error as a share of the largest value: sums of 10^4 float32 values leave about 1e-6, a forgotten piece 1e-2.
"""

SPACES: Mapping[int, tuple[int, ...]] = {2: (), 3: (324,), 4: (18, 18), 5: (3, 9, 12)}
NUM_SAMPLES: Mapping[int, int] = {2: 1100, 3: 70, 4: 70, 5: 70}
CHANNELS: Mapping[int, tuple[int, ...]] = {2: (520, 512, 40, 32), 3: (24, 32), 4: (24, 32), 5: (24, 32)}
MANY_VALUES = 1 << 19
"""Inputs have more values than these. bnlab's layers take pieces of 2^18: three show what two do not, as to where the
third one begins."""

PIECES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Samples that a piece may have."""


@dataclass(frozen=True)
class _Look:
    """What a layer gave for one large input, and what it should have."""

    given: Ingredients
    g: Tensor
    came: dict[str, Tensor]
    expected: dict[str, Tensor]
    scales: dict[str, float]

    @property
    def wrong(self) -> list[str]:
        """Which of output and input's gradient are not right."""
        return [
            what
            for what, came in self.came.items()
            if not agrees(came, self.expected[what], LARGE_CLOSE, self.scales[what])
        ]


def _large_input(subject: Subject) -> Verdict:
    if recipe_of(subject) is None:
        return does_not_apply("it has a formula of its own")
    found: Explanation | None = subject.findings.get("output")
    if found is None or found.only_where_it_fails:
        return does_not_apply("nothing explains the output of small inputs")
    for shape, channels_last in _inputs(subject):
        look = _look(subject, found.recipe, shape, channels_last=channels_last)
        if look.wrong:
            return _verdict(subject, found.recipe, look, channels_last=channels_last)
    return HOLDS


def _inputs(subject: Subject) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield the shape and layout of a large input for each number of axes that the layer takes as it should."""
    for num_axes, shape in subject.shapes.items():
        if num_axes > 2 and len(set(shape)) == 1:
            continue  # it takes this only where all axes have one size, which is another law's matter
        suiting = (c for c in CHANNELS[num_axes] if can_be_built(subject, c))
        num_channels = next(suiting, subject.num_channels)
        values_per_sample = num_channels * torch.Size(SPACES[num_axes]).numel()
        num_samples = max(NUM_SAMPLES[num_axes], MANY_VALUES // values_per_sample + 1)
        large = (num_samples, num_channels, *SPACES[num_axes])
        yield large, False
        if num_axes == 4:
            yield large, True


def large_input(shape: tuple[int, ...]) -> Tensor:
    """Return float32 values of which each channel and each sample has its own mean and size, all of like magnitude."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for axis in (0, 1):
        steps = torch.arange(shape[axis]).view([-1 if at == axis else 1 for at in range(len(shape))])
        x = x * (1.25 + 0.75 * torch.cos(steps)) + 0.5 * torch.sin(steps + 1)
    return x


def _look(subject: Subject, recipe: Recipe, shape: tuple[int, ...], *, channels_last: bool) -> _Look:
    """Return what a layer gives in training mode and float32, and what the recipe gives in float64.

    Raises:
        LayerError: The forward or the backward pass raised.
    """
    layer = subject.fresh(shape[1], torch.float32)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, g = (values.float().contiguous(memory_format=layout) for values in (large_input(shape), gradient_given(shape)))
    given = ingredients(subject, layer, x.double().contiguous())
    leaf = x.clone().requires_grad_()
    y = subject.run(layer, leaf)
    came = {"output": y.detach()}
    moved = running_of(subject, layer, shape[1])
    if moved is not None:
        given.statistics["moved"] = moved
    if "gradient cause" not in subject.findings:  # else it is wrong on small inputs too, and said to be
        came["input gradient"] = _slope(y, leaf, g)
    expected = _cooked(recipe, given, g)
    held = _cooked(replace(recipe, held="both"), given, g)["input gradient"]
    return _Look(given, g, came, expected, {"output": 0.0, "input gradient": float(held.abs().max())})


def _slope(y: Tensor, x: Tensor, g: Tensor) -> Tensor:
    if not y.requires_grad:
        return torch.zeros_like(x)
    try:
        (found,) = torch.autograd.grad(y, x, g.to(y.dtype), allow_unused=True, materialize_grads=True)
    except Exception as error:
        raise LayerError(error, Example("backward pass, float32", tuple(x.shape), None, None, None)) from error
    return found


def _cooked(recipe: Recipe, given: Ingredients, g: Tensor) -> dict[str, Tensor]:
    x = given.x.clone().requires_grad_()
    y = cook(recipe, replace(given, x=x))
    return {"output": y.detach(), "input gradient": _slope(y, x, g)}


def _verdict(subject: Subject, recipe: Recipe, look: _Look, *, channels_last: bool) -> Verdict:
    what = look.wrong[0]
    smallest = _smallest(subject, recipe, tuple(look.given.x.shape), what, channels_last=channels_last)
    gap = difference(look.came[what], look.expected[what])
    layout = ", in channels_last" if channels_last else ""
    setting = (
        f"training mode, float32{layout}: the smallest such input that was found; on one of shape "
        f"{tuple(look.given.x.shape)} the largest error of the {what} is {gap:.2g}"
    )
    cause = f"the {what} is right on small inputs{', and in the default layout' if channels_last else ''}; "
    cause += f"on large ones{' in channels_last' if channels_last else ''} {_cause(subject, recipe, look, what)}"
    return fails(f"{cause}{_grown(subject, smallest)}", "", Example(setting, smallest, None, None, None))


def _cause(subject: Subject, recipe: Recipe, look: _Look, what: str) -> str:
    """Return what explains it: a suspect, statistics of a piece of the batch, or the place where it is wrong."""
    suspects = IN_TRAINING if what == "output" else HELD
    candidates = [(suspect.cause, replace(recipe, **suspect.turns), look.given) for suspect in suspects]
    if subject.claims.formula == "batch" and what == "output":
        candidates += _of_pieces(recipe, look.given)
    for cause, turned, given in candidates:
        try:
            result = cook(turned, given) if what == "output" else _cooked(turned, given, look.g)[what]
        except ValueError:
            continue
        if agrees(look.came[what], result, LARGE_CLOSE, look.scales[what]):
            return cause
    return _place(look, what)


def _of_pieces(recipe: Recipe, given: Ingredients) -> Iterator[tuple[str, Recipe, Ingredients]]:
    """Yield what comes of statistics that miss a part of the batch, or of how its pieces differ."""
    x, axes = given.x, [axis for axis in range(given.x.dim()) if axis != 1]
    by_buffer = replace(recipe, source="before")
    for size in (size for size in PIECES if size < len(x)):
        pieces = torch.split(x, size)
        shares = torch.tensor([len(piece) / len(x) for piece in pieces]).double()
        spread = (shares[:, None] * torch.stack([piece.var(axes, correction=0) for piece in pieces])).sum(0)
        choices = {
            f"the statistics are those of the first {size} samples alone": _moments(x[:size], axes),
            f"the statistics are those of the last piece of {size} samples alone": _moments(pieces[-1], axes),
            f"the variances of pieces of {size} samples are averaged, and the spread of their means is left out": (
                x.mean(axes),
                spread,
            ),
        }
        for cause, moments in choices.items():
            yield cause, by_buffer, replace(given, statistics={"before": moments})


def _moments(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    return x.mean(axes), x.var(axes, correction=0)


def _place(look: _Look, what: str) -> str:
    """Return which channels or samples are wrong, where others are right."""
    expected = look.expected[what]
    gaps = (look.came[what].double() - expected).abs().nan_to_num(nan=float("inf"))
    size = LARGE_CLOSE * max(look.scales[what], float(expected.abs().max()))
    for axis, name in ((1, "channels"), (0, "samples")):
        wrong = (gaps.transpose(0, axis).flatten(1).amax(1) > size).nonzero().flatten().tolist()
        if len(wrong) < gaps.shape[axis]:
            return f"{len(wrong)} of {gaps.shape[axis]} {name} are wrong, the first of them {name[:-1]} {wrong[0]}"
    return "no known cause explains it"


def _smallest(
    subject: Subject, recipe: Recipe, shape: tuple[int, ...], what: str, *, channels_last: bool
) -> tuple[int, ...]:
    """Return a shape on which it is wrong still: axis by axis as small as that can be, down to what other laws saw."""
    seen = general_shape(len(shape), subject.num_channels)
    for axis in range(len(shape)):
        low, high = min(seen[axis], shape[axis]), shape[axis]
        while low < high:
            middle = (low + high) // 2
            tried = (*shape[:axis], middle, *shape[axis + 1 :])
            if _is_wrong(subject, recipe, tried, what, channels_last=channels_last):
                high = middle
            else:
                low = middle + 1
        shape = (*shape[:axis], high, *shape[axis + 1 :])
    return shape


def _is_wrong(subject: Subject, recipe: Recipe, shape: tuple[int, ...], what: str, *, channels_last: bool) -> bool:
    if not can_be_built(subject, shape[1]):
        return False
    try:
        return what in _look(subject, recipe, shape, channels_last=channels_last).wrong
    except (LayerError, ValueError):
        return False


def _grown(subject: Subject, smallest: tuple[int, ...]) -> str:
    """Return from which size on it is wrong, where one axis alone had to grow."""
    names = ("samples", "channels", *("positions along an axis",) * (len(smallest) - 2))
    seen = general_shape(len(smallest), subject.num_channels)
    grown = [f"{size} {name}" for size, usual, name in zip(smallest, seen, names, strict=True) if size > usual]
    return f", from {grown[0]} on" if len(grown) == 1 else ""


LARGE_LAWS = (
    Law(
        "large input",
        "many samples, channels and values come out as few do",
        "numbers",
        _large_input,
        ("training output", "input gradient", "parameter gradients"),
    ),
)
