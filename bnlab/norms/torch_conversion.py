"""Checks of a torch layer that `BatchNorm.from_torch` takes over, and of the layer that `to_torch` gives back."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from bnlab.errors import ConfigError

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""The layers of torch whose formula is BatchNorm's."""

_CHANGES = ("forward", "__call__", "train", "eval")
"""Methods with which a subclass changes its outputs."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def taken_over(module: nn.Module) -> _BatchNorm:
    """Return a layer if it is one of torch's batch norms, and does nothing else.

    Args:
        module: The layer to take over.

    Raises:
        ConfigError: It is another layer, or a batch norm that does more: its outputs would change.
    """
    name = type(module).__name__
    if isinstance(module, _BatchNorm) and any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ConfigError(f"from_torch takes a layer that knows its size, got {name}: run a batch through it first.")
    if not isinstance(module, KINDS):
        raise ConfigError(f"from_torch takes an nn.BatchNorm1d, 2d, 3d or SyncBatchNorm, got {name}")
    plain = next(kind for kind in type(module).__mro__ if kind in KINDS)
    own = type(module).__mro__[: type(module).__mro__.index(plain)]
    more = [
        *(f"a {method} of its own" for method in _CHANGES if any(method in vars(kind) for kind in own)),
        *(f"{child} ({type(part).__name__})" for child, part in module.named_children()),
        *(["hooks"] if any(getattr(module, hooks) for hooks in _HOOKS) else []),
    ]
    if more:
        raise ConfigError(
            f"from_torch takes torch's batch norm alone, got {name} with {' and '.join(more)}, which would be lost. "
            f"Build an nn.{plain.__name__} with its state, take that over, and keep the rest behind it."
        )
    return module


def check_given_back(kind: type[nn.Module]) -> None:
    """Check that a class is one of torch's batch norms.

    Args:
        kind: The class to build.

    Raises:
        ConfigError: It is another class.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"to_torch takes nn.BatchNorm1d, 2d, 3d or SyncBatchNorm, got {getattr(kind, '__name__', repr(kind))}"
        )
