"""Finds and builds networks that are not bnlab's: ``package.module:Class``, ``torchvision:NAME``, installed names."""

import copy
import functools
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bnlab.errors import BnlabError, ConfigError, did_you_mean
from bnlab.models.blocks import BlockBuilder
from bnlab.models.foreign import ForeignNetwork
from bnlab.models.network import check_images
from bnlab.models.replaced_norms import leave_fast_paths, replace_norms
from bnlab.own_code.given import is_given
from bnlab.plugins import COLLECTIONS, MODEL_PLUGINS, OWN_PLACE, load_object
from bnlab.schema_models import GIVEN_TO_MODELS, AnyModelConfig, OwnModelConfig
from bnlab.schema_types import names_of

Constructor = Callable[..., nn.Module]


def build_own_network(
    config: OwnModelConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
) -> ForeignNetwork:
    """Build a network of the user's, of an installed package, or of a collection, with the norms of the arm.

    Its constructor gets what it has a parameter for: ``input_shape``, ``num_classes``, ``build_norm``, and the options.
    Without a parameter ``build_norm``, its norms are replaced after it has been built (`replace_norms`).

    Args:
        config: The place of the class, and its options.
        input_shape: The shape of one image: (C, H, W) or (D,).
        num_classes: The number of logits per image.
        blocks: The arm and its placement.

    Raises:
        ConfigError: There is no such class, it cannot be built so, or the placement has no meaning for it.
    """
    if blocks.placement == "after":
        raise ConfigError(
            f"placement=after has no meaning for model={config.name}, whose own code says where its norms stand. Use "
            "placement=before, which leaves them there, or placement=input."
        )
    constructor = find_constructor(config.name)
    given = {"input_shape": input_shape, "num_classes": num_classes, "build_norm": blocks.norm}
    package = config.name.partition(":")[0]
    num_colors = 3 if package == "torchvision" and input_shape[0] == 1 and len(input_shape) == 3 else None
    if package in COLLECTIONS:
        check_images(config.name, input_shape)
        arguments = {"num_classes": num_classes, **config.options}
        if package == "timm":
            arguments = {"in_chans": input_shape[0], **arguments}
        takes_builder = False
    else:
        arguments = _arguments(config, constructor, given)
        takes_builder = "build_norm" in arguments

    def build() -> nn.Module:
        return _built(config.name, constructor, arguments, None if takes_builder else blocks.norm)

    channels = input_shape[0]
    network = functools.partial(ForeignNetwork, build, config.name, input_shape, num_classes)
    try:
        return network(blocks.input_norm(channels), num_colors)
    except ConfigError:
        if torch.get_default_device().type != "meta":
            raise
        with torch.device("cpu"):  # its constructor or its pass may need numbers, which meta has not
            return network(blocks.input_norm(channels), num_colors)


def find_constructor(name: str) -> Constructor:
    """Return what builds a network: a class, or a function that returns a module.

    Args:
        name: The value of ``model=``, which is none of bnlab's names.

    Raises:
        ConfigError: There is none, or it is something else.
    """
    package, colon, inner = name.partition(":")
    if package in COLLECTIONS and colon:
        return _of_collection(package, inner)
    installed = MODEL_PLUGINS.find(name) if not colon else None
    place = installed.place if installed else name
    if not OWN_PLACE.match(place):
        known = sorted([*names_of(AnyModelConfig), *MODEL_PLUGINS.usable_names([])])
        raise ConfigError(f"model={name} is not known. {did_you_mean(name, known)}")
    cure = f"Mend or uninstall {installed.distribution}." if installed else "It is read as package.module:Class."
    found = load_object(place, f"model={name}", cure)
    if isinstance(found, nn.Module):
        if not is_given(place):
            raise ConfigError(
                f"model={name} is a network that is built already, and no seed can decide its initial weights. Name "
                "its class, or a function that builds it."
            )
        return lambda: copy.deepcopy(found)
    if not callable(found):
        raise ConfigError(
            f"model={name} must be a class of networks, or a function that builds one, got {found!r}. {cure}"
        )
    return found  # type: ignore[no-any-return]


def _of_collection(package: str, name: str) -> Constructor:
    """Return the function that builds a network of torchvision or timm.

    Raises:
        ConfigError: The package is not installed, or has no such network.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"model={package}:{name} needs the package {package}, which is not installed. pip install {package}"
        )
    if package == "timm":
        import timm  # type: ignore[import-not-found]  # noqa: PLC0415  (not among bnlab's dependencies)

        if not timm.is_model(name):
            raise ConfigError(f"model=timm:{name} is not known. {did_you_mean(name, timm.list_models())}")
        return functools.partial(timm.create_model, name)
    from torchvision import models  # noqa: PLC0415  (it takes two seconds)

    known = models.list_models()
    if name not in known:
        raise ConfigError(f"model=torchvision:{name} is not known. {did_you_mean(name, known)}")
    return functools.partial(models.get_model, name, weights=None)


def _arguments(config: OwnModelConfig, constructor: Constructor, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a constructor.

    Raises:
        ConfigError: It has no such option, or lacks an argument.
    """
    try:
        signature = inspect.signature(constructor)
    except (TypeError, ValueError):  # of a class written in C
        return dict(config.options)
    parameters = signature.parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for option in () if takes_any else config.options:
        if option not in parameters:
            known = [name for name in parameters if name not in GIVEN_TO_MODELS]
            cure = did_you_mean(option, known) if known else "It has no options."
            raise ConfigError(f"model={config.name} has no option '{option}'. {cure}")
    arguments = {**{name: value for name, value in given.items() if name in parameters}, **config.options}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"model={config.name} cannot be built: {error}. Its constructor gets input_shape, num_classes and "
            "build_norm where it has such parameters; give others as model.NAME=VALUE."
        ) from error
    return arguments


def _built(
    name: str, constructor: Constructor, arguments: Mapping[str, Any], replaced_by: Callable[[int], nn.Module] | None
) -> nn.Module:
    """Return a new network.

    Raises:
        ConfigError: It cannot be built.
        BnlabError: Raised by the arm's norm, or by the class itself.
    """
    quiet = dict(arguments)
    if "build_norm" in quiet:
        quiet["build_norm"] = _without_draws(quiet["build_norm"])
    try:
        net = constructor(**quiet)
    except BnlabError:
        raise
    except (Exception, SystemExit) as error:  # somebody's own class may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"model={name} cannot be built: {type(error).__name__}: {said}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model={name} must give a torch.nn.Module, got {type(net).__name__}. Return the network.")
    if not hasattr(net, "_modules"):
        raise ConfigError(f"model={name} cannot be built: its constructor must call super().__init__() first.")
    if any(nn.parameter.is_lazy(parameter) for parameter in net.parameters()):
        raise ConfigError(f"model={name} has lazy layers, which learn their size from an input. Give them their sizes.")
    if replaced_by is not None:
        replace_norms(net, _without_draws(replaced_by))
    leave_fast_paths(net)
    return net


def _without_draws(build_norm: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    """Return a builder whose random draws do not change those of the layers around the norm."""

    def build(num_channels: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return build_norm(num_channels)

    return build
