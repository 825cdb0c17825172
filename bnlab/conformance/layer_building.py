"""Building a layer from its name and options, for any number of channels."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from bnlab.errors import ConfigError, did_you_mean
from bnlab.norms.catalog import find_norm_class

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
    if parameters[channels].kind in {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}:
        return lambda num_channels: norm_class(num_channels, **options)
    return functools.partial(_build, norm_class, channels, dict(options))


def options_of_constructor(build: Build) -> dict[str, Any]:
    """Return the constructor's options with the values that a build uses: those given, else the defaults."""
    call = build
    given: dict[str, Any] = {}
    while isinstance(call, functools.partial):
        given = {**call.keywords, **given}
        if call.func is _build:
            given = {**call.args[2], **given}
            call = call.args[0]
        else:
            call = call.func
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return given
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return {**defaults, **given}


def with_option(build: Build, key: str, value: object) -> Build | None:
    """Return a function that builds the same layer with one option changed; None if there is no such option."""
    if key not in options_of_constructor(build):
        return None
    if isinstance(build, functools.partial) and build.func is _build:
        norm_class, channels, options = build.args
        return functools.partial(_build, norm_class, channels, {**options, key: value})
    return functools.partial(build, **{key: value})


def _build(norm_class: type[nn.Module], channels: str, options: dict[str, Any], num_channels: int) -> nn.Module:
    return norm_class(**{channels: num_channels}, **options)
