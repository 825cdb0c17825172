"""Tries the user's own diagnostics before training: what is wrong with them is told once, and no folder is made."""

import contextlib
import io
import sys
import traceback
from pathlib import Path

import torch

from bnlab.data.splits import DataSet
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Moment, ProbeBatch
from bnlab.diagnostics.measuring import measure_all
from bnlab.diagnostics.own_instruments import is_own
from bnlab.diagnostics.passes import Named
from bnlab.errors import BnlabError, ConfigError
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.schema import RunConfig
from bnlab.seeding import seeded_alike
from bnlab.training.probing import build_probe


def try_instruments(config: RunConfig, data: DataSet, device: torch.device) -> None:
    """Measure the run's diagnostics that are not bnlab's twice: at its first step, and as after an update.

    Args:
        config: The settings of the run.
        data: The three splits of the run, on the CPU.
        device: The device that the run is trained on.

    Raises:
        ConfigError: One of them fails, changes what it measures, or returns something else than scalar tensors.
    """
    instruments = [diagnostic for diagnostic in build_diagnostics(config.diagnostics.names) if is_own(diagnostic)]
    if not instruments:
        return
    with seeded_alike(), contextlib.redirect_stdout(io.StringIO()):  # else a print of theirs would show twice
        network = build_network(config, data.input_shape, data.num_classes)
        seed_weights(network, config.model, config.seed)
        network.see(data.train.images)
        network.to(device)
        probe = _moved(build_probe(config, data, network.activation_name), device)
        size = config.train.batch_size
        batch = Batch(data.train.images[:size].to(device), data.train.labels[:size].to(device))
        for instrument in instruments:
            _try(instrument, network, probe, batch, config.optim.lr)


def _try(instrument: Diagnostic, network: Network, probe: ProbeBatch, batch: Batch, lr: float) -> None:
    """Measure one diagnostic twice.

    Raises:
        ConfigError: It fails.
    """
    rate = torch.tensor(lr, device=probe.inputs.device)
    previous = {name: 1.01 * value.detach() for name, value in network.named_parameters()}
    memories: dict[str, Named] = {}
    try:
        for moment in (Moment(None, None, rate), Moment(previous, batch, rate)):
            measure_all([instrument], network, network, probe, moment, memories)
    except Exception as error:
        if isinstance(error, BnlabError):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = getattr(sys.modules.get(type(instrument).__module__), "__file__", None)
        frame = next((one for one in reversed(frames) if one.filename == own), frames[-1])
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        raise ConfigError(
            f"diagnostics.names: {instrument.name} ({type(instrument).__name__}) fails when it measures: {reason} "
            f"({place}). Mend it, or leave it out."
        ) from error


def _moved(probe: ProbeBatch, device: torch.device) -> ProbeBatch:
    return ProbeBatch(
        inputs=probe.inputs.to(device),
        labels=probe.labels.to(device),
        activation=probe.activation,
        training_batches=tuple(Batch(x.to(device), y.to(device)) for x, y in probe.training_batches),
        step_size=probe.step_size,
    )
