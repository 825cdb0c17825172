"""Builds a cohort from its configs."""

from collections.abc import Sequence
from typing import Any

import torch

from bnlab.data.loader import Batches
from bnlab.diagnostics.building import build_diagnostics
from bnlab.experiment.checking import Checked
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.schema import AnyOptimConfig, MuonConfig, RunConfig
from bnlab.training.cohort import Cohort, SingleRun
from bnlab.training.muon import MuonAndAdamW
from bnlab.training.optim import build_optimizer, build_schedule
from bnlab.training.probing import build_probe
from bnlab.training.shared_run import AgreedInterruption, SharedRun
from bnlab.training.stacked.runs import StackedRuns
from bnlab.training.trained import freeze_untrained
from bnlab.world import World


def assemble_cohort(configs: Sequence[RunConfig], checked: Checked, engine: str) -> tuple[Cohort, Network]:
    """Build a cohort; also return a network of its architecture, for the names of its layers.

    Args:
        configs: The settings of each run; they differ only in numbers, such as seed and learning rate.
        checked: What `check` found for the first config.
        engine: ``sequential`` for one run alone, ``vectorized`` for one or more runs.
    """
    if engine == "sequential":
        (config,) = configs
        return assemble(config, checked)
    run = StackedRuns(configs, checked.data, checked.device, checked.plan.num_steps)
    return run, run.network


def assemble(config: RunConfig, checked: Checked) -> tuple[SingleRun, Network]:
    """Build a run from its parts, seeded and on its device; also return its network.

    Args:
        config: The settings of the run.
        checked: What `check` found for these settings.
    """
    parts = _parts(config, checked)
    return SingleRun(**parts), parts["model"]


def assemble_shared(config: RunConfig, checked: Checked, world: World, interruption: AgreedInterruption) -> SharedRun:
    """Build this process's part of a run that several processes share.

    Args:
        config: The settings of the run.
        checked: What `check` found for these settings.
        world: The processes, which torch.distributed connects already.
        interruption: The request to stop; it is set when all processes have agreed.
    """
    return SharedRun(world, interruption, **_parts(config, checked))


def _parts(config: RunConfig, checked: Checked) -> dict[str, Any]:
    """Return the arguments of `SingleRun`, seeded and on the run's device."""
    model = build_network(config, checked.data.input_shape, checked.data.num_classes)
    seed_weights(model, config.model, config.seed)
    model.see(checked.data.train.images)
    freeze_untrained(model, config)
    layout = torch.channels_last if model.channels_last else torch.contiguous_format
    model.to(device=checked.device, memory_format=layout)  # type: ignore[call-overload]
    data = checked.data.to(checked.device, model.channels_last)
    return {
        "model": model,
        "data": data,
        "batches": Batches(data.train, config.train.batch_size, config.data, config.seed),
        "optimizer": _build_optimizer(model, config.optim),
        "lr": config.optim.lr,
        "schedule": build_schedule(config.schedule, checked.plan.num_steps),
        "accumulation": config.train.accumulation,
        "clip_norm": config.optim.clip_norm,
        "precision": config.train.precision,
        "label_smoothing": config.train.label_smoothing,
        "mirrored_evaluation": config.train.mirrored_evaluation,
        "diagnostics": build_diagnostics(config.diagnostics.names),
        "probe": build_probe(config, data, model.activation_name),
    }


def _build_optimizer(model: Network, config: AnyOptimConfig) -> torch.optim.Optimizer | MuonAndAdamW:
    if isinstance(config, MuonConfig):
        return MuonAndAdamW(model, model.norms, model.weights, config)
    return build_optimizer(model, model.norms, config)
