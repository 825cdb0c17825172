"""The layer under test: built anew for each look, so that nothing that one law does is seen by the next.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.conformance.claims import Claims, claims_of
from bnlab.conformance.examples import Example, show
from bnlab.conformance.inputs import SPACES, general_shape, random_input, square_shape
from bnlab.conformance.layer_building import Build, options_of_constructor
from bnlab.conformance.states import State, states_of
from bnlab.errors import ConfigError

CHANNELS = (4, 8, 16, 32, 12, 6, 24, 64)
"""Numbers of channels that are tried, none of them the size of another axis; layers with groups take some only."""

ENOUGH = 2
"""So many that the layer can be built with are compared: with twice as many channels, groups have more than one."""

SCALES = (1.5, 0.5, 2.0, -0.75)
SHIFTS = (0.25, -1.0, 0.5, 2.0)
"""What weight and bias are set to, over and over: all different, one negative, short to read."""


class LayerError(Exception):
    """The layer raised; the first line of what it said.

    Attributes:
        line: That line, with the kind of exception.
        example: What it was given.
    """

    def __init__(self, error: Exception, example: Example | None = None) -> None:
        self.line = first_line(error)
        self.example = example
        super().__init__(self.line)


@dataclass(frozen=True)
class Affine:
    """The names of a layer's parameters per channel, where it has them."""

    scale: str | None
    shift: str | None


@dataclass
class Subject:
    """A layer, and what has been found out about it.

    Attributes:
        build: Builds one for a number of channels.
        claims: What it is held to.
        num_channels: A number of channels that suits it.
        shapes: By number of axes, the shape of an input that it takes.
        refusals: By number of axes, what it said of an input that it does not take.
        facts: What is worth saying, right or wrong.
        findings: What one law found out and another needs: how its output comes about.
    """

    build: Build
    claims: Claims
    num_channels: int
    shapes: dict[int, tuple[int, ...]]
    refusals: dict[int, str]
    facts: dict[str, str] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an input that it takes, an image for preference."""
        return self.shapes[4] if 4 in self.shapes else self.shapes[max(self.shapes)]

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """The options of its constructor."""
        return options_of_constructor(self.build)

    @functools.cached_property
    def affine(self) -> Affine:
        """The names of its scale and its shift."""
        return affine_of(self.fresh(), self.num_channels)

    def fresh(
        self, num_channels: int | None = None, dtype: torch.dtype = torch.float64, *, training: bool = True
    ) -> nn.Module:
        """Return a new layer whose parameters are not at their start.

        Args:
            num_channels: Its C.
            dtype: Of parameters and buffers.
            training: Its mode.

        Raises:
            LayerError: It cannot be built, moved or switched.
        """
        num_channels = num_channels or self.num_channels
        try:
            layer = built(self.build, num_channels).to(dtype)
            layer.train(training)
            stir(layer, num_channels)
        except Exception as error:
            raise LayerError(error) from error
        return layer

    def run(self, layer: nn.Module, x: Tensor, *, seed: int = 0) -> Tensor:
        """Return a layer's output; random numbers that it draws are the same every time.

        Args:
            layer: One of `fresh`.
            x: Its input.
            seed: Of torch's random numbers.

        Raises:
            LayerError: It raised, or gave something else than a tensor.
        """
        mode = "training" if layer.training else "eval"
        setting = f"{mode} mode, {str(x.dtype).removeprefix('torch.')}"
        example = functools.partial(Example, setting, tuple(x.shape), came=None, expected=None)
        try:
            y = call(layer, x, seed=seed)
        except Exception as error:
            raise LayerError(error, example(given=None if x.is_meta else show(x))) from error
        if not isinstance(y, Tensor):
            raise LayerError(TypeError(f"the output is not a tensor but {type(y).__name__}"), example(given=show(x)))
        return y

    @functools.cached_property
    def gives_numbers(self) -> bool:
        """Whether its training output is finite where its input is."""
        with torch.no_grad():
            return bool(torch.isfinite(self.run(self.fresh(), random_input(self.shape))).all())

    @functools.cached_property
    def draws_random_numbers(self) -> bool:
        """Whether its training output depends on torch's random numbers."""
        with torch.no_grad():
            looks = [self.run(self.fresh(), random_input(self.shape), seed=seed) for seed in (1, 2)]
        return not torch.equal(*looks)

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """What training moves without a gradient, wherever it is kept."""
        layer = self.fresh()
        before = states_of(layer)
        with torch.no_grad():
            for seed in (1, 2):
                self.run(layer, random_input(self.shape, seed))
        after = states_of(layer)
        return {
            name: state
            for name, state in after.items()
            if name not in before or not _same(before[name].value, state.value)
        }


def open_subject(build: Build, like: str | None = None) -> Subject:
    """Return a layer ready to be judged: with the sizes and shapes that it takes found out.

    Args:
        build: Builds one for a number of channels.
        like: The family that it is held against; None: what it declares, else BatchNorm.

    Raises:
        ConfigError: It cannot be built for any number of channels, or there is no such family.
    """
    best: Subject | None = None
    refusals: list[Exception] = []
    num_built = 0
    for num_channels in CHANNELS:
        try:
            layer = built(build, num_channels)
        except Exception as error:
            refusals.append(error)
            continue
        claims = claims_of(layer, like, options_of_constructor(build))
        subject = _take_in(build, claims, num_channels)
        if best is None or len(subject.shapes) > len(best.shapes):
            best = subject
        num_built += 1
        if len(best.shapes) == len(SPACES) or num_built == ENOUGH:
            break
    if best is None:
        if isinstance(refusals[0], ConfigError):  # one of ours, which says all that there is to say
            raise refusals[0]
        tried = ", ".join(map(str, CHANNELS))
        raise ConfigError(f"the layer cannot be built for any of {tried} channels: {first_line(refusals[0])}")
    return best


def built(build: Build, num_channels: int) -> nn.Module:
    """Return a layer whose random numbers at the start are always the same."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(0)  # torch.manual_seed queues work for devices that are not there
        return build(num_channels)


def call(layer: nn.Module, x: Tensor, *, seed: int = 0) -> Tensor:
    """Return a layer's output, silently and with the same random numbers every time."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        return layer(x)  # type: ignore[no-any-return]


def stir(layer: nn.Module, num_channels: int) -> None:
    """Set a layer's scale and shift to values that tell channels and mistakes apart; move other parameters a little."""
    affine = affine_of(layer, num_channels)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name in {affine.scale, affine.shift}:
                values = cycle(SCALES if name == affine.scale else SHIFTS, parameter.numel())
                parameter.copy_(values.view(parameter.shape))
            elif parameter.requires_grad and parameter.numel() == num_channels:
                parameter.add_(0.1)


def cycle(values: tuple[float, ...], count: int) -> Tensor:
    """Return so many values, repeated where they do not suffice, each time a little larger."""
    return torch.tensor([values[i % len(values)] + i // len(values) * 0.125 for i in range(count)]).double()


def affine_of(layer: nn.Module, num_channels: int) -> Affine:
    """Return the names of scale and shift: by what they are called, else by what they start at."""
    found: dict[str, str] = {}
    candidates = {n: p for n, p in layer.named_parameters() if p.requires_grad and p.numel() == num_channels}
    for role, names in _CALLED.items():
        for name in candidates:
            if name.rpartition(".")[2] in names:
                found.setdefault(role, name)
    for role, start in (("scale", 1.0), ("shift", 0.0)):
        for name, parameter in candidates.items():
            if role not in found and name not in found.values() and bool((parameter == start).all()):
                found[role] = name
    return Affine(found.get("scale"), found.get("shift"))


_CALLED = {"scale": {"weight", "gamma", "scale", "g", "gain"}, "shift": {"bias", "beta", "shift", "b"}}


def first_line(error: Exception) -> str:
    """Return what an exception says, on one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")


def _take_in(build: Build, claims: Claims, num_channels: int) -> Subject:
    shapes: dict[int, tuple[int, ...]] = {}
    refusals: dict[int, str] = {}
    for num_axes in (*SPACES, *SPACES):
        if num_axes in shapes:
            continue
        tries = [general_shape(num_axes, num_channels)]
        takes_images = any(taken > 2 for taken in shapes)  # then what it refuses it was not written for
        if claims.formula in {"batch", "group"} and not takes_images:  # one axis may be taken for another
            tries.append(square_shape(num_axes, num_channels))
        for shape in tries:
            said = _said_of(build, num_channels, shape)
            if said is None:
                shapes[num_axes] = shape
                refusals.pop(num_axes, None)
                break
            refusals.setdefault(num_axes, said)
    return Subject(build, claims, num_channels, shapes, refusals)


def _said_of(build: Build, num_channels: int, shape: tuple[int, ...]) -> str | None:
    """Return why a layer does not take a shape, or None if it does. A warning that it is misread is a refusal too."""
    layer = built(build, num_channels)
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("error", message=".*input's size.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            y = layer(random_input(shape).float())
    except Exception as error:
        return first_line(error)
    return None if isinstance(y, Tensor) and y.shape == shape else f"the output has another shape than {shape}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def named_options(subject: Subject, names: tuple[str, ...], layer: nn.Module) -> Any:
    """Return the first of several attributes, of a layer or a part of it, else of its constructor's options."""
    for module in layer.modules():
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, int | float):
                return value
    options: Mapping[str, Any] = subject.options
    return next((options[name] for name in names if name in options), None)
