"""Checks that a config can be trained, before any time is spent on training and before any folder is made."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bnlab import provenance
from bnlab.bfloat16 import computes_bfloat16
from bnlab.data.loader import Batches
from bnlab.data.opening import open_data
from bnlab.data.splits import DataSet
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Diagnostic
from bnlab.diagnostics.measuring import needs_of
from bnlab.diagnostics.schedule import measured_steps
from bnlab.errors import ConfigError
from bnlab.experiment.trying_instruments import try_instruments
from bnlab.identity.changes import refuse_code_found_by_importing, what_is_unread
from bnlab.identity.own_parts import own_code
from bnlab.loggers.guarded import refuse_missing_libraries
from bnlab.norms.catalog import find_norm_class
from bnlab.norms.names import NORMS
from bnlab.schema import RunConfig
from bnlab.schema_types import MOST_MEASURED
from bnlab.training.loop import Plan
from bnlab.traps.trial import try_out
from bnlab.world import World, find_world

SMALL_STEP_FLOP = 4e8
"""Floating-point operations of a forward pass over one batch, below which one thread is best: on a busy machine, two
threads that wait for each other took up to 100 times as long. The default MLP needs 1.2e7 operations, the default CNN
on 28x28 images 3.5e9."""


@dataclass(frozen=True)
class Checked:
    """A config that can be trained: its data is open, and one batch went through its network before training.

    Attributes:
        data: The three splits, on the CPU.
        device: The device that the run is trained on.
        num_threads: The number of CPU threads that torch computes with.
        plan: The steps at which the run is logged, evaluated, measured and saved.
        warnings: One sentence for each setting that is legal but probably a mistake.
    """

    data: DataSet
    device: torch.device
    num_threads: int
    plan: Plan
    warnings: list[str]


def check(config: RunConfig) -> Checked:
    """Check that a config can be trained; nothing is written.

    Raises:
        ConfigError: A setting that cannot work.
        DataError: The data are missing or damaged.
    """
    world = find_world()
    if config.train.processes != world.size:
        started = "this process was started alone" if world.size == 1 else f"torchrun started {world.size}"
        raise ConfigError(
            f"train.processes={config.train.processes} must be the number of processes that share the run: {started}. "
            f"Start them by: torchrun --nproc-per-node {config.train.processes} --no-python bnlab train ..."
        )
    device = find_device(config.device, world)
    refuse_missing_libraries(config.loggers)
    code = own_code(config)
    diagnostics = build_diagnostics(config.diagnostics.names)
    data = open_data(config.data)
    if config.train.mirrored_evaluation and len(data.input_shape) != 3:
        raise ConfigError(
            f"train.mirrored_evaluation=true needs images, got rows of {data.input_shape[0]} numbers. "
            "Set train.mirrored_evaluation=false."
        )
    batches = Batches(data.train, config.train.batch_size, config.data, config.seed)
    plan = _plan(config, batches.num_per_epoch, diagnostics)
    trial = try_out(config, data, plan.num_steps, _memory_bytes(device))
    try_instruments(config, data, device)
    refuse_code_found_by_importing(code, config)
    num_cores = max(1, provenance.num_physical_cores() // world.local_size)
    num_threads = config.threads or (1 if trial.flop < SMALL_STEP_FLOP else num_cores)
    warnings = [
        *data.warnings,
        *trial.warnings,
        *what_is_unread(config),
        *_parted_statistics(config),
        *_slow_precision(config, device),
    ]
    return Checked(data, device, num_threads, plan, warnings)


def is_available(device: str) -> bool:
    """Return whether this machine has a device.

    Args:
        device: A torch device, such as ``cuda:0``.
    """
    try:
        find_device(device)
    except (ConfigError, RuntimeError):  # torch raises it for an unknown name
        return False
    return True


def find_device(name: str, world: World | None = None) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``auto``, or a torch device.
        world: The processes that share a run: each of them on a machine gets a GPU of its own, where the name does not
            say which. None: this process is alone.

    Raises:
        ConfigError: This machine lacks it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world is not None and world.size > 1:
        name = f"cuda:{world.local_rank}"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name} is not available: torch sees {torch.cuda.device_count()} GPUs. Use device=cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps is not available: it needs a Mac with Apple silicon. Use device=cpu.")
    return device


def _slow_precision(config: RunConfig, device: torch.device) -> list[str]:
    """Return a warning if the device has no instructions for the run's precision."""
    if config.train.precision != "bfloat16" or computes_bfloat16(device.type):
        return []
    return [
        f"train.precision=bfloat16: this {'processor' if device.type == 'cpu' else 'device'} has no instructions for "
        "products of bfloat16 numbers, and takes up to ten times as long as with train.precision=float32."
    ]


def _parted_statistics(config: RunConfig) -> list[str]:
    """Return a warning if several processes share each batch, and the norm's statistics are of a part of it."""
    train, norm = config.train, config.norm
    if train.processes == 1 or norm.options.get("sync", False) or norm.name not in NORMS:
        return []
    if not getattr(find_norm_class(norm.name), "mixes_samples", False):
        return []
    cure = " Use norm.sync=true." if "sync" in norm.options else " norm=batch norm.sync=true shares them."
    return [
        f"train.processes={train.processes} with norm={norm.name}: statistics of the {train.part_size} images of each "
        f"process, not of {train.part_size * train.processes}.{cure}"
    ]


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return provenance.memory_bytes()


def _plan(config: RunConfig, steps_per_epoch: int, diagnostics: Sequence[Diagnostic]) -> Plan:
    num_steps = config.train.steps or steps_per_epoch * (config.train.epochs or 0)
    for name in ("schedule", "heavy_schedule"):
        every = getattr(config.diagnostics, name).every
        if every and num_steps // every > MOST_MEASURED:
            raise ConfigError(
                f"diagnostics.{name}.every={every} measures {num_steps // every:,} times in {num_steps:,} steps, "
                f"{MOST_MEASURED:,} at most. Try diagnostics.{name}.every={-(-num_steps // 1000)}."
            )
    often = measured_steps(config.diagnostics.schedule, num_steps)
    heavy = measured_steps(config.diagnostics.heavy_schedule, num_steps)
    if not any(diagnostic.cost == "heavy" for diagnostic in diagnostics):
        heavy = frozenset()
    return Plan(
        num_steps=num_steps,
        batch_size=config.train.batch_size,
        log_every=config.train.log_every,
        eval_every=config.train.eval_every or steps_per_epoch,
        measured_steps=often | heavy if diagnostics else frozenset(),
        heavy_steps=heavy,
        measures_updates="update" in needs_of(diagnostics),
        checkpoint_every=config.train.checkpoint_every,
        divergence_factor=config.train.divergence_factor,
        divergence_patience=config.train.divergence_patience,
    )
