"""One run, assembled. Read it from top to bottom: that is what happens."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from bnlab import provenance
from bnlab.config.complaints import say_what_is_wrong
from bnlab.data.loader import Batches
from bnlab.data.opening import open_data
from bnlab.data.splits import DataSet
from bnlab.diagnostics.catalog import build_diagnostics
from bnlab.diagnostics.diagnostic import ProbeBatch
from bnlab.diagnostics.schedule import measured_steps
from bnlab.errors import BnlabError, ConfigError, RunError
from bnlab.loggers.logger import Logger
from bnlab.loggers.tensorboard import TensorBoardLogger
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.records import Record, RunSummary, Status
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.checkpoint import read_checkpoint, write_checkpoint
from bnlab.training.cohort import SingleRun
from bnlab.training.loop import CheckpointDue, Plan, train
from bnlab.training.optim import build_optimizer, build_schedule
from bnlab.training.precision import computing_with
from bnlab.training.tally import Tally
from bnlab.traps.trial import try_out

SMALL_STEP_FLOP = 4e8
"""Floating-point operations of a forward pass over one batch, below which one thread is best: on a busy machine two
that wait for each other have cost a factor of 100. The default MLP needs 1.2e7, the default CNN on 28x28 3.5e9."""

OpenTerminal = Callable[[str, int, int], Logger]
"""(title, number of steps, batch size) -> a logger."""

_log = logging.getLogger("bnlab")


@dataclass(frozen=True)
class Checked:
    """A config that will run: its data is open, its model has been built once, without weights, and tried.

    Attributes:
        data: On the CPU.
        device: Where it will be trained.
        num_threads: Of the CPU.
        plan: What happens at which step.
        warnings: What is legal and probably not meant.
    """

    data: DataSet
    device: torch.device
    num_threads: int
    plan: Plan
    warnings: list[str]


def check(config: RunConfig) -> Checked:
    """Find out whether a config will run, before anything is spent on it or any folder is made.

    Raises:
        ConfigError: A setting that cannot work.
        DataError: The data are not there, or damaged.
    """
    device = _find_device(config.device)
    build_diagnostics(config.diagnostics.names)
    data = open_data(config.data)
    batches = Batches(data.train, config.train.batch_size, config.data, config.seed)
    plan = _plan(config, batches.num_per_epoch)
    trial = try_out(config, data, plan.num_steps, _memory_bytes(device))
    num_threads = config.threads or (1 if trial.flop < SMALL_STEP_FLOP else provenance.num_physical_cores())
    return Checked(data, device, num_threads, plan, trial.warnings)


def run_experiment(
    config: RunConfig,
    folder: RunFolder,
    open_terminal: OpenTerminal | None = None,
    on_warning: Callable[[str], object] = lambda _: None,
) -> RunSummary:
    """Train one run and keep everything about it in its folder.

    Args:
        config: What to train.
        folder: Where to; emptied first, unless it holds a result, which is kept until there is a new one.
        open_terminal: For a view while it trains.
        on_warning: Told of what is probably not meant; log.txt is told anyway.

    Returns:
        What came out.

    Raises:
        ConfigError: A setting that cannot work; no folder is made.
        DataError: The data are not there, or damaged; no folder is made.
        RunError: Another process trains this run, or it failed; its log.txt says why.
        KeyboardInterrupt: It was cut off; what was recorded is kept.
    """
    checked = check(config)
    for warning in checked.warnings:
        on_warning(warning)
    manifest = _manifest(checked)
    began = time.perf_counter()
    with folder.opened_for_training(config, manifest), folder.collecting_messages():
        tally = Tally()
        status: Status = "failed"
        loggers: list[Logger] = []
        try:
            _announce(folder, checked)
            with computing_with(checked.num_threads, stream_seed(config.seed, "noise"), checked.device):
                run, model = assemble(config, checked)
                loggers += _open_loggers(config, folder, model, checked.plan, open_terminal)
                _follow(train(run, checked.plan), folder, model, [tally, *loggers])
            status = tally.status
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except Exception as error:
            _log.exception("the run failed")
            raise RunError(
                f"{folder.path.name} failed: {_briefly(error)}\nThe whole story: {folder.log_path}"
            ) from error
        finally:
            duration_s = time.perf_counter() - began
            _log.info("%s at step %d after %.1f s", status, tally.steps, duration_s)
            summary = tally.summary(folder.path.name, str(folder.path), config.seed, status, duration_s)
            for logger in loggers:
                logger.close(summary)
            folder.write_summary(summary)
            ending = {"status": status, "ended": provenance.now(), "duration_s": duration_s}
            folder.write_manifest({**manifest, **ending, "config": config.as_dict()})
    return summary


def _announce(folder: RunFolder, checked: Checked) -> None:
    _log.info("%s on %s with %d threads", folder.path.name, checked.device, checked.num_threads)
    for warning in checked.warnings:
        _log.warning("%s", warning)


def _follow(
    records: Iterable[Record | CheckpointDue], folder: RunFolder, model: Network, takers: Sequence[Tally | Logger]
) -> None:
    """Write every record down, then hand it to whoever else wants it; keep the weights when asked, and at the end."""
    step = 0
    for record in records:
        step = record.step
        if isinstance(record, CheckpointDue):
            write_checkpoint(folder.checkpoint_path, model, step)
            continue
        folder.append(record)
        for taker in takers:
            taker.take(record)
    write_checkpoint(folder.checkpoint_path, model, step)


def _briefly(error: Exception) -> str:
    first = str(error).partition("\n")[0]
    return first if isinstance(error, BnlabError) else f"{type(error).__name__}: {first}"


def load_model(run: str | Path) -> nn.Module:
    """Return a run's network with its final weights, in eval mode, on the CPU.

    Args:
        run: Its folder.

    Raises:
        RunError: It is not a run's folder, or has no weights.
    """
    folder = RunFolder(Path(run))
    try:
        config = RunConfig.model_validate(folder.read_config())
    except ValidationError as error:
        raise RunError(
            f"{run} was made by another version of bnlab: {say_what_is_wrong(error)}\n"
            "Its checkpoint.pt holds the weights all the same: torch.load(path, weights_only=True)."
        ) from error
    checkpoint = read_checkpoint(folder.checkpoint_path)
    shape = folder.read_manifest()["data"]
    model = build_network(config, tuple(shape["input_shape"]), shape["num_classes"])
    model.load_state_dict(checkpoint["model"])
    return model.eval()


def _find_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        ConfigError: It is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device={name} is not there: torch sees {torch.cuda.device_count()} GPUs. Use device=cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps is not there: it needs a Mac with Apple silicon. Use device=cpu.")
    return device


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return provenance.memory_bytes()


def _plan(config: RunConfig, steps_per_epoch: int) -> Plan:
    num_steps = config.train.steps or steps_per_epoch * (config.train.epochs or 0)
    return Plan(
        num_steps=num_steps,
        batch_size=config.train.batch_size,
        log_every=config.train.log_every,
        eval_every=config.train.eval_every or steps_per_epoch,
        measured_steps=measured_steps(config.diagnostics.schedule, num_steps)
        if config.diagnostics.names
        else frozenset(),
        checkpoint_every=config.train.checkpoint_every,
        divergence_factor=config.train.divergence_factor,
        divergence_patience=config.train.divergence_patience,
    )


def assemble(config: RunConfig, checked: Checked) -> tuple[SingleRun, Network]:
    """Put a run together from its parts, seeded and on its device; also return its network.

    Args:
        config: What to train.
        checked: What `check` made of it.
    """
    model = build_network(config, checked.data.input_shape, checked.data.num_classes)
    seed_weights(model, config.model, config.seed)
    layout = torch.channels_last if model.channels_last else torch.contiguous_format
    model.to(device=checked.device, memory_format=layout)  # type: ignore[call-overload]
    data = checked.data.to(checked.device, model.channels_last)
    probe = slice(0, config.diagnostics.probe_size)
    run = SingleRun(
        model=model,
        data=data,
        batches=Batches(data.train, config.train.batch_size, config.data, config.seed),
        optimizer=build_optimizer(model, model.norms, config.optim),
        lr=config.optim.lr,
        schedule=build_schedule(config.schedule, checked.plan.num_steps),
        accumulation=config.train.accumulation,
        clip_norm=config.optim.clip_norm,
        precision=config.train.precision,
        diagnostics=build_diagnostics(config.diagnostics.names),
        probe=ProbeBatch(data.validation.images[probe], data.validation.labels[probe], config.model.activation),
    )
    return run, model


def _open_loggers(
    config: RunConfig, folder: RunFolder, model: Network, plan: Plan, open_terminal: OpenTerminal | None
) -> list[Logger]:
    loggers: list[Logger] = []
    if "tensorboard" in config.loggers:
        loggers.append(TensorBoardLogger(folder.path, config, list(model.linears)))
    if open_terminal is not None:
        loggers.append(open_terminal(folder.path.name, plan.num_steps, config.train.batch_size))
    return loggers


def _manifest(checked: Checked) -> dict[str, Any]:
    data = checked.data
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    return {
        "command": provenance.command(),
        "git": provenance.git_state(Path(__file__).parent),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "device": str(checked.device),
        "threads": checked.num_threads,
        "engine": "sequential",
        "cohort": None,
        "data": {
            "found_in": data.found_in,
            "num_images": sizes,
            "input_shape": list(data.input_shape),
            "num_classes": data.num_classes,
        },
        "num_steps": checked.plan.num_steps,
        "started": provenance.now(),
    }
