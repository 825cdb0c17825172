"""Traps in the config of a run, in addition to those that one forward pass of its network shows."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.models.catalog import sizes_of
from bnlab.models.network import Network
from bnlab.norms.names import NORMS
from bnlab.plugins import NORM_PLUGINS
from bnlab.schema import RunConfig, SGDConfig
from bnlab.schema_models import CNNConfig, OwnModelConfig
from bnlab.traps.facts import facts_of
from bnlab.traps.in_network import (
    bias_before_norm,
    dropout_before_batch_norm,
    few,
    one_value,
    signs_only,
    small_momentum,
    who_overwrites,
)
from bnlab.traps.trap import FEW_VALUES, LARGEST_START_SHARE, SMALL_MOMENTUM, Trap, some_of
from bnlab.traps.watching import NormUse, Pass

LARGE_BYTES = 2**30
"""Bytes of weights, gradients and the optimizer's state from which a network is called large: a thousand times those of
the default CNN. Most such networks come from a doubling of channels whose total size was not computed."""


def find_traps(config: RunConfig, model: Network, seen: Pass, num_steps: int) -> list[Trap]:
    """Return the traps in a config that passes all other checks; errors first.

    Warnings that ``accept`` names are left out.

    Args:
        config: The settings of the run.
        model: The network of the run.
        seen: The observations of one forward pass, over one part of a batch if there is accumulation.
        num_steps: The number of optimizer steps of the whole run.
    """
    traps = [
        *one_value(seen),
        *_in_place(config, seen, model),
        *_hidden_name(config),
        *_small_momentum(config, seen),
        *_not_settled(config, seen, num_steps),
        *_few_values(config, seen),
        *signs_only(seen),
        *_accumulation(config, seen, model),
        *_bias_before_norm(config, seen, model),
        *_undecayed_norm(config, model),
        *(_with_norm(config, trap) for trap in dropout_before_batch_norm(seen)),
    ]
    kept = [trap for trap in traps if trap.severity == "error" or trap.name not in config.accept]
    return sorted(kept, key=lambda trap: trap.severity)


def weigh(config: RunConfig, model: Network, memory_bytes: int) -> list[Trap]:
    """Find a network that needs much memory, before it is built with its weights.

    Args:
        config: The settings of the run.
        model: The network without norms, on any device; on ``meta`` it takes no memory.
        memory_bytes: The memory of the device that it will be trained on.
    """
    optim = config.optim
    states = int(optim.momentum > 0) if isinstance(optim, SGDConfig) else 2
    trained = {"all": [model], "norms": []}.get(config.train.parameters, [model.output])
    num_bytes = _num_bytes([model]) + (1 + states) * _num_bytes(trained)
    if num_bytes < LARGE_BYTES or (num_bytes <= memory_bytes and "large_model" in config.accept):
        return []
    settings = sizes_of(config.model)
    if isinstance(config.model, CNNConfig):
        settings += f" model.num_stages={config.model.num_stages} (each doubles the channels)"
    message = f"{settings}: weights, gradients and the optimizer's state take {num_bytes / 2**30:.1f} GiB"
    return [
        Trap(
            "large_model",
            "error" if num_bytes > memory_bytes else "warning",
            f"{message} of {memory_bytes / 2**30:.1f}. Try a smaller model.width or fewer stages.",
        )
    ]


def _num_bytes(parts: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() * parameter.element_size() for part in parts for parameter in part.parameters())


def _in_place(config: RunConfig, seen: Pass, model: Network) -> list[Trap]:
    place = f"norm={config.norm.name}"
    if seen.input_overwritten:  # the images may be a view of the whole data set
        return [Trap("in_place", "error", f"{place} overwrites its input images. Let it work on x.clone().")]
    overwritten = seen.overwritten
    if isinstance(config.model, OwnModelConfig):  # it may add to the output of its norms, which no diagnostic looks at
        names = {name for name, module in model.named_modules() if module in set(model.activations.values())}
        overwritten = [name for name in overwritten if name in names]
    if not (overwritten and config.diagnostics.names):
        return []
    message = (
        f"{place} with diagnostics={config.diagnostics.name}: the output of {some_of(overwritten)} is overwritten "
        f"({who_overwrites(seen)}), so that diagnostics measure other values there. Let it work on x.clone()."
    )
    return [Trap("in_place", "warning", message)]


def _hidden_name(config: RunConfig) -> list[Trap]:
    name = config.norm.name
    return [
        Trap(
            "hidden_name",
            "warning",
            f"norm={name} is bnlab's own; that of {norm.distribution} by the same name is not used. Reach it by "
            f"norm={norm.place}.",
        )
        for norm in NORM_PLUGINS.installed()
        if norm.name == name and name in NORMS and norm.place != NORMS[name]
    ]


def _kept_share(seen: Pass) -> float | None:
    """Return the share of the old running statistics that each pass keeps; None: a plain average, or no average."""
    facts = next((use.facts for use in seen.norms if use.facts.keeps_running_statistics), None)
    return facts.kept if facts else None


def _updates_per_pass(seen: Pass) -> int:
    """Return how often a pass updates the running statistics: in a recurrent cell, at each time step that shares them.

    What is kept is then a root of norm.momentum, so that a pass keeps as much as in other networks.
    """
    first = next(use.module for use in seen.norms if use.facts.keeps_running_statistics)
    return sum(use.module is first for use in seen.norms)


def _small_momentum(config: RunConfig, seen: Pass) -> list[Trap]:
    if (
        config.norm.name not in NORMS
    ):  # it is one of torch's layers, or may hold one: their momentum has torch's meaning
        return small_momentum(seen)
    kept = _kept_share(seen)
    if kept is None or kept >= SMALL_MOMENTUM:
        return []
    message = (
        f"norm.momentum is the share of the OLD running value that is kept, got {kept:g}: eval mode sees little more "
        f"than the last batches. PyTorch's {kept or 0.1:g} is norm.momentum={1 - (kept or 0.1):g} here."
    )
    return [Trap("small_momentum", "warning", message)]


def _not_settled(config: RunConfig, seen: Pass, num_steps: int) -> list[Trap]:
    kept, num_passes = _kept_share(seen), num_steps * config.train.accumulation
    num_updates = num_passes if kept is None else num_passes * _updates_per_pass(seen)
    if kept is None or kept**num_updates <= LARGEST_START_SHARE:
        return []
    if kept == 1:
        message = (
            f"norm={config.norm.name} never changes its running statistics: eval mode uses the initial ones, mean 0 "
            "and variance 1, unless they are set by other means (bnlab.norms.precise_batch_stats, or a state dict)."
        )
        return [Trap("statistics_not_settled", "warning", message)]
    largest = int(1000 * LARGEST_START_SHARE ** (1 / num_passes)) / 1000
    message = (
        f"norm={config.norm.name} keeps {kept:g} of its running statistics at each of {num_updates} updates: at "
        f"the end, eval mode uses {kept**num_updates:.0%} of the initial ones, mean 0 and variance 1."
    )
    cure = f"norm.momentum={largest:g} or below" if config.norm.name in NORMS else f"keep at most {largest:g}"
    return [Trap("statistics_not_settled", "warning", f"{message} Train longer, or {cure}.")]


def _few_values(config: RunConfig, seen: Pass) -> list[Trap]:
    uses = few(seen)
    if not uses:
        return []
    fewest = min(use.facts.values_per_statistic or FEW_VALUES for use in uses)
    own = [f"norm.{key}" for key in ("ghost_size", "num_devices") if key in config.norm.options]
    cure = f"Change {own[0]}" if own else "Use a larger train.batch_size"
    signs = ", and on (N, C) two values always become +1 and -1" if fewest == 2 else ""
    message = (
        f"norm={config.norm.name} takes statistics over {fewest} values per channel in {some_of(u.role for u in uses)} "
        f"({config.train.part_size} images at a time): below {FEW_VALUES} their noise costs accuracy{signs}. "
        f"{cure}, or norm=layer."
    )
    return [Trap("few_values", "warning", message)]


def _values_of(use: NormUse, num_samples: int) -> int | None:
    """Return the number of values per statistic of a norm in a batch of another size."""
    facts = facts_of(use.module, (num_samples, *use.shape[1:]))
    return facts.values_per_statistic if facts else None


def _accumulation(config: RunConfig, seen: Pass, model: Network) -> list[Trap]:
    train, name = config.train, config.norm.name
    mixes = any(_values_of(use, train.batch_size) != use.facts.values_per_statistic for use in seen.norms)
    if train.accumulation == 1 or not (mixes or _behavior(config, seen, model).mixes_samples):
        return []
    message = (
        f"train.accumulation={train.accumulation} with norm={name}: statistics of {train.part_size} samples each, not "
        f"{train.batch_size}. Use train.accumulation=1"
    )
    on_purpose = f"; norm=ghost norm.ghost_size={train.part_size} has such statistics on purpose"
    return [Trap("accumulation", "warning", f"{message}{on_purpose if 'ghost' in NORMS else ''}.")]


@dataclass(frozen=True)
class _Behavior:
    """The actual behavior of a user's own norm, whatever it declares."""

    mixes_samples: bool = False
    removes_channel_shift: bool = False


def _behavior(config: RunConfig, seen: Pass, model: Network) -> _Behavior:
    """Test a norm that is not in the catalog: add a constant to each channel, and replace a sample.

    Its random numbers, if it draws any, are the same each time.
    """
    norm = next(iter(model.norms.values()), None)
    if norm is None:
        return _Behavior()
    shape = next((use.shape for use in seen.norms if use.module is norm), None)
    if config.norm.name in NORMS or shape is None or shape[0] < 2:
        return _Behavior()

    def output_for(x: Tensor) -> Tensor:
        with leaving_no_trace(norm), torch.no_grad():
            norm.train()
            torch.manual_seed(0)
            return norm(x.clone())  # type: ignore[no-any-return]

    generator = torch.Generator().manual_seed(0)
    x = torch.randn((min(shape[0], 8), *shape[1:]), generator=generator)
    other, shift = x.clone(), torch.linspace(-3, 3, shape[1]).view(1, -1, *[1] * (x.dim() - 2))
    other[-1] = 2 - 3 * x[-1]
    try:
        y, shifted, neighbor = output_for(x), output_for(x + shift), output_for(other)
        says_anything = not torch.allclose(y[-1], neighbor[-1], atol=1e-3)
        return _Behavior(
            mixes_samples=not torch.allclose(y[:-1], neighbor[:-1], atol=1e-3),
            removes_channel_shift=says_anything and torch.allclose(y, shifted, atol=1e-3),
        )
    except Exception:  # it may reject these numbers; a search for traps must not stop a run that works
        return _Behavior()


def _bias_before_norm(config: RunConfig, seen: Pass, model: Network) -> list[Trap]:
    if isinstance(config.model, OwnModelConfig) and config.norm.name in NORMS:  # its own code gave the bias
        return [Trap(t.name, t.severity, f"model={config.model.name}: {t.message}") for t in bias_before_norm(seen)]
    message = (
        f"norm={config.norm.name} subtracts each channel's mean without declaring it: the linear maps before it keep a "
        "bias without effect. Write subtracts_mean = True in its class."
    )
    if bias_before_norm(seen):
        return [Trap("bias_before_norm", "warning", message)]
    stands_behind_a_bias = config.placement != "input" and any(
        isinstance(block.linear.bias, Tensor) and block.order.startswith("linear, norm")
        for block in model.blocks.values()
    )
    if stands_behind_a_bias and _behavior(config, seen, model).removes_channel_shift:
        return [Trap("bias_before_norm", "warning", message)]
    return []


def _undecayed_norm(config: RunConfig, model: Network) -> list[Trap]:
    optim = config.optim
    is_trained = any(parameter.requires_grad for norm in model.norms.values() for parameter in norm.parameters())
    if not (optim.weight_decay > 0 and optim.decay_norm_and_bias is None and is_trained):
        return []
    message = (
        f"optim.weight_decay={optim.weight_decay:g} with norm={config.norm.name}: it is not set whether the norm's "
        "parameters and biases decay too; here they do not, with PyTorch's optimizers they do."
    )
    return [Trap("undecayed_norm", "warning", f"{message} Set optim.decay_norm_and_bias=false, or true.")]


def _with_norm(config: RunConfig, trap: Trap) -> Trap:
    model = config.model
    dropout = None if isinstance(model, OwnModelConfig) else getattr(model, "dropout", None)
    place = f"model={model.name}" if dropout is None else f"model.dropout={dropout:g}"
    message = f"{place} with norm={config.norm.name}: {trap.message}"
    return Trap(trap.name, trap.severity, message)
