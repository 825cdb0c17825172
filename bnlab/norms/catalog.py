"""Builds norms by their names. A norm is added by one line in names.py and one YAML file in conf/norm/."""

import inspect
import sys
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from bnlab.errors import BnlabError, ConfigError, did_you_mean
from bnlab.norms.names import NORMS
from bnlab.norms.norm import DECLARATIONS, Norm
from bnlab.plugins import NORM_PLUGINS, load_class


class NoNorm(Norm):
    """Return the input unchanged: the control arm.

    What does a network do without any normalization?

    Training and eval mode are the same.

    Axes:
        None.

    Fails:
        Deep networks need a suitable initialization (model.init), and diverge at learning rates at which networks with
        a norm train.

    Args:
        num_channels: Not used; all norms have this argument.

    Source:
        Ours.

    Example:
        >>> import torch
        >>> NoNorm(2)(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """

    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Return the input."""
        return x_NCS


def build_norm(name: str, num_channels: int, **options: Any) -> nn.Module:
    """Build a norm by its name, or by the place of its class.

    Args:
        name: A name of the catalog or of an installed package (``bnlab list norms``), or ``package.module:Class``
            whose constructor takes ``(num_channels, **options)``.
        num_channels: C, the size of axis 1 of the norm's input.
        **options: Options for the norm's constructor, unchanged.

    Returns:
        The layer, in training mode. It has all declarations of `Norm`, with the defaults for those that its class
        lacks.

    Raises:
        ConfigError: No such norm, no such option, or an option out of range.
        BnlabError: Raised by the class itself.

    Example:
        >>> build_norm("group", 8, num_groups=2)
        GroupNorm(8, num_groups=2, eps=1e-05)
    """
    norm_class = find_norm_class(name)
    signature = inspect.signature(norm_class)
    parameters = signature.parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for option in () if takes_any else options:
        if option not in parameters:
            known = [key for key in parameters if key != "num_channels"]
            cure = did_you_mean(option, known) if known else "It has no options."
            raise ConfigError(f"norm={name} has no option '{option}'. {cure}")
    try:
        signature.bind(num_channels, **options)
    except TypeError as error:
        raise ConfigError(f"norm={name} cannot be built as Class(num_channels, **options): {error}.") from error
    try:
        norm = norm_class(num_channels, **options)
    except BnlabError:
        raise
    except (Exception, SystemExit) as error:  # somebody's own class may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"norm={name} cannot be built for {num_channels} channels: {type(error).__name__}: {said}"
        ) from error
    if not hasattr(norm, "_modules"):
        raise ConfigError(f"norm={name} cannot be built: its constructor must call super().__init__() first.")
    for part in norm.modules():
        if isinstance(part, LazyModuleMixin):
            raise ConfigError(is_lazy_message(name, type(part), is_part=part is not norm))
    for declaration in DECLARATIONS:
        if not hasattr(norm, declaration):  # somebody's own class, which need not know bnlab
            setattr(norm, declaration, getattr(Norm, declaration))
    return norm


def is_lazy_message(name: str, lazy: type[nn.Module], *, is_part: bool = False) -> str:
    """Return why a lazy layer is refused, and what to use.

    Args:
        name: The value of ``norm=``.
        lazy: A class of torch whose sizes are chosen at the first input.
        is_part: Whether it is the class of a part of the layer.
    """
    becomes: type[nn.Module] | None = getattr(lazy, "cls_to_become", None)
    if is_part:
        cure = f"{becomes.__name__} in its place" if becomes else "a part that takes its size"
        return f"norm={name} has a part, {lazy.__name__}, that is lazy: it learns its size from its input. Use {cure}."
    module = name.partition(":")[0]
    cure = "a class that takes the number of channels"
    if becomes is not None and vars(sys.modules.get(module, object)).get(becomes.__name__) == becomes:
        cure = f"norm={module}:{becomes.__name__}"
    return f"norm={name} is lazy: it learns its size from its first input. Use {cure}."


def find_norm_class(name: str) -> type[nn.Module]:
    """Return the class behind a name of the catalog, a name of an installed package or a ``package.module:Class``.

    Raises:
        ConfigError: No such name, module or class, or it is not an nn.Module.
    """
    installed = NORM_PLUGINS.find(name) if name not in NORMS and ":" not in name else None
    place = installed.place if installed else NORMS.get(name, name)
    cure = f"Mend or uninstall {installed.distribution}." if installed else "It is read as package.module:Class."
    module_name, colon, _ = place.partition(":")
    if not (module_name and colon) or module_name.startswith("."):
        raise ConfigError(
            f"norm={name} is not known. {did_you_mean(name, [*NORMS, *NORM_PLUGINS.usable_names(NORMS)])}"
        )
    return load_class(place, nn.Module, f"norm={name}", cure)


def is_vectorizable(name: str) -> bool:
    """Return whether many runs with a norm can be trained as one program.

    Its class must declare it itself: a base class cannot know what a subclass does.

    Args:
        name: Name of the norm, as in `build_norm`.

    Raises:
        ConfigError: No such norm.

    Example:
        >>> is_vectorizable("batch"), is_vectorizable("batch_torch"), is_vectorizable("torch.nn:BatchNorm1d")
        (True, False, False)
    """
    return bool(vars(find_norm_class(name)).get("vectorizable", False))
