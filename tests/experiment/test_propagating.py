"""`bnlab propagate`: sizes of outputs and gradients by depth at the initial weights, and the recursions for them."""

import math

import pytest
import torch
import torch.nn.functional as F

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.experiment.propagating import _moments, propagate
from bnlab.models.catalog import build_network, seed_weights
from bnlab.training.probing import build_probe

DIGITS = ["data=digits", "diagnostics.probe_size=20"]


@pytest.mark.parametrize(
    ("activation", "variance", "expected"),
    [
        ("relu", 1.0, (1 / 2, 1 / 2 - 1 / (2 * math.pi), 1 / 2)),
        ("relu", 3.0, (3 / 2, 3 / 2 - 3 / (2 * math.pi), 1 / 2)),
    ],
)
def test_moments_of_an_activation_are_those_of_the_closed_form(activation, variance, expected):
    assert _moments(activation, variance) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "silu"])
def test_moments_of_an_activation_are_those_of_many_draws(activation):
    z = (2 * torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    values = getattr(torch if activation in {"sigmoid", "tanh"} else F, activation)(z)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    drawn = (values.square().mean().item(), values.var().item(), slopes.square().mean().item())
    assert _moments(activation, 4.0) == pytest.approx(drawn, rel=0.01)


def test_outputs_and_gradients_are_those_of_each_image_by_itself():
    config = compose_run([*DIGITS, "norm=none", "model.depth=2", "model.width=6", "model.activation=tanh"])
    data = open_data(config.data)
    model = build_network(config, data.input_shape, data.num_classes)
    seed_weights(model, config.model, config.seed)
    probe = build_probe(config, data, "tanh")
    maps = [linear.double() for linear in model.linears.values()]
    squares = [[] for _ in maps]
    gradients = [[] for _ in maps]
    for image, label in zip(probe.inputs.double(), probe.labels, strict=True):
        z1 = maps[0](image.flatten()[None])
        z2 = maps[1](z1.tanh())
        z3 = maps[2](z2.tanh())
        parts = torch.autograd.grad(-z3.log_softmax(1)[0, label], (z1, z2, z3))
        for i, (z, gradient) in enumerate(zip((z1, z2, z3), parts, strict=True)):
            squares[i].append(z.detach().square().mean())
            gradients[i].append(gradient.square().mean())
    found = propagate(config)
    assert [layer.role for layer in found.layers] == ["hidden1", "hidden2", "output"]
    for i, layer in enumerate(found.layers):
        assert layer.output == pytest.approx(float(torch.stack(squares[i]).mean()), rel=1e-9)
        assert layer.gradient == pytest.approx(float(torch.stack(gradients[i]).mean()), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "forward", "backward"),
    [
        (["norm=none"], 1.0, 1.0),
        (["norm=batch"], 1.0, math.pi / (math.pi - 1)),  # Yang et al. 2019
        (["norm=layer"], 1.0, 1.0),
        (["norm=rms"], 1.0, 1.0),
    ],
)
def test_wide_relu_networks_follow_the_recursion(words, forward, backward):
    config = compose_run(["data=mnist_5k", "model.depth=10", "model.width=600", "diagnostics.probe_size=300", *words])
    found = propagate(config)
    assert found.source is not None
    assert found.growth("expected_output") == pytest.approx(forward, rel=0.02)
    assert found.growth("expected_gradient") == pytest.approx(backward, rel=0.03)
    for layer in found.layers[:-1]:  # the output has ten units only
        assert layer.output == pytest.approx(layer.expected_output, rel=0.4)
    assert found.growth("output") == pytest.approx(forward, rel=0.05)
    assert found.growth("gradient") == pytest.approx(backward, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["norm=none", "model.dropout=0.5"],
        ["norm=batch", "model.dropout=0.5"],
        ["norm=layer", "model.dropout=0.5"],
        ["norm=batch", "norm.eps=0.5"],
        ["norm=rms", "norm.eps=0.5", "model.dropout=0.2"],
        ["norm=layer", "norm.eps=1", "model.activation=tanh"],
        ["norm=batch", "norm.eps=100"],
    ],
)
def test_the_recursion_knows_dropout_and_eps(words):
    config = compose_run(["data=mnist_5k", "model.depth=5", "model.width=400", "diagnostics.probe_size=200", *words])
    found = propagate(config)
    for layer in found.layers[:-1]:
        assert layer.output == pytest.approx(layer.expected_output, rel=0.4)
    assert found.growth("output") == pytest.approx(found.growth("expected_output"), rel=0.06)
    assert found.growth("gradient") == pytest.approx(found.growth("expected_gradient"), rel=0.06)


@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn", "model.width=4"],
        ["norm=dyt"],
        ["placement=after"],
        ["model=own_networks:Rows"],
    ],
)
def test_where_no_recursion_is_known_nothing_is_expected(words):
    found = propagate(compose_run([*DIGITS, *words]))
    assert found.source is None
    assert {layer.expected_output for layer in found.layers} == {None}
    assert all(layer.output > 0 and layer.gradient > 0 for layer in found.layers)
