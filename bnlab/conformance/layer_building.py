"""Building a layer from its name and options, for any number of channels."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from bnlab.errors import ConfigError, did_you_mean
from bnlab.norms.catalog import find_norm_class, is_lazy_message

Build = Callable[[int], nn.Module]

CHANNEL_NAMES = ("num_channels", "num_features", "normalized_shape", "channels", "num_features_", "dim", "features")
"""Names that constructors use for the number of channels, which need not be the first argument (torch.nn.GroupNorm)."""


def builder(name: str, options: Mapping[str, Any]) -> Build:
    """Return a function that builds a layer for a number of channels.

    Args:
        name: A name of the catalog, or ``package.module:Class``.
        options: Options for the layer's constructor, without the number of channels.

    Raises:
        ConfigError: The class or an option does not exist, or a required option is missing.
    """
    norm_class = find_norm_class(name)
    if issubclass(norm_class, LazyModuleMixin):
        raise ConfigError(is_lazy_message(name, norm_class))
    parameters = inspect.signature(norm_class).parameters
    channels = next((known for known in CHANNEL_NAMES if known in parameters), None) or next(iter(parameters), None)
    if channels is None:
        raise ConfigError(f"norm={name} cannot be built as Class(num_channels, **options): it takes no arguments")
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for option in () if takes_any else options:
        if option not in parameters or option == channels:
            known = [key for key in parameters if key != channels]
            cure = did_you_mean(option, known) if known else "It has no options."
            raise ConfigError(f"norm={name} has no option '{option}'. {cure}")
    missing = [
        key
        for key, p in parameters.items()
        if p.default is inspect.Parameter.empty
        and p.kind in {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        and key not in {channels, *options}
    ]
    if missing:
        words = " ".join(f"norm.{key}=<value>" for key in missing)
        raise ConfigError(f"{name} needs more than the number of channels. Add {words} to the command.")
    by_place = parameters[channels].kind in {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
    return _Builder(norm_class, None if by_place else channels, dict(options))


def options_of_constructor(build: Build) -> dict[str, Any]:
    """Return the constructor's options with the values that a build uses: those given, else the defaults."""
    call, given = (build.norm_class, build.options) if isinstance(build, _Builder) else (build, {})
    parameters = inspect.signature(call).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty} | given


def with_option(build: Build, key: str, value: object) -> Build:
    """Return a function that builds the same layer with one option of its constructor changed."""
    if isinstance(build, _Builder):
        return replace(build, options={**build.options, key: value})
    return functools.partial(build, **{key: value})


@dataclass(frozen=True)
class _Builder:
    """Builds a layer of a class; the number of channels has a name, or is the first argument (None)."""

    norm_class: type[nn.Module]
    channels: str | None
    options: dict[str, Any]

    def __call__(self, num_channels: int) -> nn.Module:
        if self.channels is None:
            return self.norm_class(num_channels, **self.options)
        return self.norm_class(**{self.channels: num_channels}, **self.options)
