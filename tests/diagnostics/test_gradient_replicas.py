"""Gradient instruments in stacked networks say what they say of each by itself."""

import pytest
import torch
from watched import SHAPE, in_float64, network

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.diagnostic import Batch, Moment, ProbeBatch
from bnlab.diagnostics.measuring import measure_all
from bnlab.training.stacked.measure import StackedState, measure_stacked

OURS = [
    name
    for name, place in DIAGNOSTICS.items()
    if place.split(":")[0].rsplit(".", 1)[1] in {"gradients", "updates", "gradient_noise"}
]
OPTIONS = {"weight_standardization": {"num_groups": 2}}


def stacked(values):
    return {name: torch.stack([own[name] for own in values]) for name in values[0]}


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "weight_standardization"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_three_at_once_are_as_one_by_one(model, norm):
    generator = torch.Generator().manual_seed(0)
    diagnostics = build_diagnostics(OURS)
    assert all(diagnostic.vectorizable for diagnostic in diagnostics)
    with in_float64():
        nets = [network(model, norm=norm, seed=seed, **OPTIONS.get(norm, {})) for seed in range(3)]
        inputs, labels = torch.randn((40, *SHAPE), generator=generator), torch.arange(40) % 5
        probe = ProbeBatch(inputs, labels, "tanh", tuple(map(Batch, inputs.split(10), labels.split(10))))
        now = [{name: value.detach().clone() for name, value in net.named_parameters()} for net in nets]
        previous = [
            {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in own.items()}
            for own in now
        ]
        rates = torch.tensor([0.1, 0.2, 0.3])
        alone = [
            measure_all(diagnostics, net, net, probe, Moment(before, None, lr))
            for net, before, lr in zip(nets, previous, rates, strict=True)
        ]
        replicas = StackedState(
            nets[0],
            stacked(now),
            stacked([dict(net.named_buffers()) for net in nets]),
            {},
            Moment(stacked(previous), None, rates),
            [{} for _ in nets],
        )
        together = [values for values, _ in measure_stacked(diagnostics, replicas, probe)]
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=0)
    assert alone[0].keys() == set(OURS)
    assert [name for name, values in alone[0].items() if not values] == {
        "none": ["angular_update", "effective_lr"],
        "batch": ["gradient_noise_scale", "gradient_snr"],
    }.get(norm, [])
