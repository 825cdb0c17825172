"""The layer under test. Each law builds it anew, so that no law sees the effects of another.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bnlab.conformance.affine import Affine, affine_of, set_parameters
from bnlab.conformance.claims import Claims, claims_of
from bnlab.conformance.examples import Example, show
from bnlab.conformance.inputs import SPACES, general_shape, random_input, square_shape
from bnlab.conformance.layer_building import Build, options_of_constructor
from bnlab.conformance.states import State, changed, states_of
from bnlab.errors import ConfigError

CHANNELS = (4, 8, 16, 32, 12, 6, 24, 64)
"""Numbers of channels to try; none is the size of another axis. Layers with groups accept some of them only."""

ENOUGH = 2
"""Stop after this many of `CHANNELS` for which the layer could be built. With the second, which is twice the first, a
group has more than one channel."""

Found = TypeVar("Found")


class LayerError(Exception):
    """The layer raised an exception.

    Attributes:
        line: Type of the exception and the first line of its message.
        example: The input on which the layer raised; None if it raised without one.
    """

    def __init__(self, error: Exception, example: Example | None = None) -> None:
        self.line = first_line(error)
        self.example = example
        super().__init__(self.line)


@dataclass
class Subject:
    """The layer under test, and the findings about it.

    Attributes:
        build: Builds the layer for a number of channels.
        claims: The promises that the laws test.
        num_channels: A number of channels for which the layer can be built.
        shapes: Number of axes -> the shape of an input that the layer accepts.
        refusals: Number of axes -> the layer's error message for an input that it does not accept.
        facts: Name of a property -> text, for the report.
        findings: Results that are computed once, and results of one law that other laws read (`Law.relies_on`).
    """

    build: Build
    claims: Claims
    num_channels: int
    shapes: dict[int, tuple[int, ...]]
    refusals: dict[int, str]
    facts: dict[str, str] = field(default_factory=dict)
    findings: dict[Any, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an input that the layer accepts: an image if it accepts images."""
        return self.shapes[4] if 4 in self.shapes else self.shapes[max(self.shapes)]

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """The options of the layer's constructor, by name."""
        return options_of_constructor(self.build)

    @functools.cached_property
    def affine(self) -> Affine:
        """The names of the layer's scale and shift."""
        return affine_of(self.fresh(), self.num_channels)

    def fresh(
        self, num_channels: int | None = None, dtype: torch.dtype = torch.float64, *, training: bool = True
    ) -> nn.Module:
        """Return a new layer whose scale and shift differ from their initial values.

        Args:
            num_channels: Number of channels C; None: the subject's.
            dtype: Data type of parameters and buffers.
            training: Whether the layer is in training mode, else in eval mode.

        Raises:
            LayerError: Building the layer, or ``.to(dtype)``, or ``.train()`` raised.
        """
        num_channels = num_channels or self.num_channels
        try:
            layer = built(self.build, num_channels).to(dtype)
            layer.train(training)
            set_parameters(layer, num_channels)
        except Exception as error:
            raise LayerError(error) from error
        return layer

    def trained(self) -> nn.Module:
        """Return a new layer after one training batch."""
        layer = self.fresh()
        self.run(layer, random_input(self.shape, 4))
        return layer

    def output(self, x: Tensor, *, training: bool = True, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        """Return the output of a new layer; the arguments are those of `fresh` and `run`."""
        return self.run(self.fresh(dtype=dtype, training=training), x, seed=seed)

    def run(self, layer: nn.Module, x: Tensor, *, seed: int = 0) -> Tensor:
        """Return a layer's output; the layer draws the same random numbers in every call.

        Args:
            layer: A layer from `fresh`.
            x: The input (N, C, *S). The output has a graph only if the input requires a gradient.
            seed: Seed of torch's random numbers during the call.

        Raises:
            LayerError: The layer raised, or its output is not a tensor.
        """
        mode = "training" if layer.training else "eval"
        setting = f"{mode} mode, {str(x.dtype).removeprefix('torch.')}"
        example = Example(setting, tuple(x.shape), None if x.is_meta else show(x))
        try:
            with _quietly(seed), torch.set_grad_enabled(x.requires_grad):
                y = layer(x)
        except Exception as error:
            raise LayerError(error, example) from error
        if not isinstance(y, Tensor):
            raise LayerError(TypeError(f"the output is not a tensor but {type(y).__name__}"), example)
        return y

    @functools.cached_property
    def draws_random_numbers(self) -> bool:
        """Whether the training output depends on torch's random numbers."""
        return not torch.equal(*(self.output(random_input(self.shape), seed=seed) for seed in (1, 2)))

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """The tensors that training changes without an optimizer, by name."""
        layer = self.fresh()
        before = states_of(layer)
        for seed in (1, 2):
            self.run(layer, random_input(self.shape, seed))
        return changed(before, states_of(layer))

    @functools.cached_property
    def set_by_first_batch(self) -> list[str]:
        """The parameters that a new layer takes from the first batch and leaves alone afterwards, as ActNorm does."""
        layer = self.trained()
        after_one = states_of(layer)
        self.run(layer, random_input(self.shape, 1))
        later = changed(after_one, states_of(layer))
        first = changed(states_of(self.fresh()), after_one)
        return [name for name, state in first.items() if state.kind == "parameter" and name not in later]


def once(find: Callable[[Subject], Found]) -> Callable[[Subject], Found]:
    """Let a function of a subject keep its result among the findings, and compute it only once."""

    @functools.wraps(find)
    def look_up(subject: Subject) -> Found:
        if find not in subject.findings:
            subject.findings[find] = find(subject)
        found: Found = subject.findings[find]
        return found

    return look_up


def open_subject(build: Build, like: str | None = None) -> Subject:
    """Return the layer under test, with a number of channels and input shapes that it accepts.

    Args:
        build: Builds the layer for a number of channels.
        like: The family of norms whose laws apply; None: the family that the layer declares, else BatchNorm's.

    Raises:
        ConfigError: The layer cannot be built for any number of channels, or the family is not known.
    """
    subjects: list[Subject] = []
    refusals: list[Exception] = []
    for num_channels in CHANNELS:
        try:
            layer = built(build, num_channels)
        except Exception as error:
            refusals.append(error)
            continue
        claims = claims_of(layer, like, options_of_constructor(build))
        subjects.append(_find_shapes(build, claims, num_channels))
        if len(subjects) == ENOUGH or len(subjects[-1].shapes) == len(SPACES):
            return max(subjects, key=lambda subject: len(subject.shapes))
    if subjects:
        return subjects[0]
    if isinstance(refusals[0], ConfigError):  # bnlab's own message, which says what to change
        raise refusals[0]
    tried = ", ".join(map(str, CHANNELS))
    raise ConfigError(f"the layer cannot be built for any of {tried} channels: {first_line(refusals[0])}")


def built(build: Build, num_channels: int) -> nn.Module:
    """Return a layer, built with the same random numbers every time."""
    with _quietly(seed=0):
        return build(num_channels)


@contextlib.contextmanager
def _quietly(seed: int) -> Iterator[None]:
    """Let random numbers begin at a seed, and leave the caller's alone; show no warnings."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would queue work for absent devices
        yield


def first_line(error: Exception) -> str:
    """Return an exception's type and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")


def _find_shapes(build: Build, claims: Claims, num_channels: int) -> Subject:
    shapes: dict[int, tuple[int, ...]] = {}
    refusals: dict[int, str] = {}
    for num_axes in SPACES:
        tries = [general_shape(num_axes, num_channels)]
        takes_images = any(taken > 2 for taken in shapes)  # then the layer does not claim to accept what it refuses
        if claims.formula in {"batch", "group"} and not takes_images:  # it may confuse two axes
            tries.append(square_shape(num_axes, num_channels))
        for shape in tries:
            refusal = _refusal_of(build, num_channels, shape)
            if refusal is None:
                shapes[num_axes] = shape
                refusals.pop(num_axes, None)
                break
            refusals.setdefault(num_axes, refusal)
    return Subject(build, claims, num_channels, shapes, refusals)


def _refusal_of(build: Build, num_channels: int, shape: tuple[int, ...]) -> str | None:
    """Return why a layer does not accept a shape, or None if it does. A warning about the shape counts as a refusal."""
    layer = built(build, num_channels)
    try:
        with _quietly(seed=0), torch.no_grad():
            warnings.filterwarnings("error", message=".*input's size.*")
            y = layer(random_input(shape).float())
    except Exception as error:
        return first_line(error)
    return None if isinstance(y, Tensor) and y.shape == shape else f"the output has another shape than {shape}"


def named_options(subject: Subject, *names: str) -> Any:
    """Return the first number among attributes of these names, of a layer or its parts, else among its options."""
    for module in subject.fresh().modules():
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, int | float):
                return value
    return next((subject.options[name] for name in names if name in subject.options), None)
