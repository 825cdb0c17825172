"""Gradient norms per layer, held against a forward and backward pass written by hand in float64."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnlab.diagnostics.diagnostic import Observation, ProbeBatch
from bnlab.diagnostics.gradients import GradientNorm
from bnlab.diagnostics.measuring import measure_all
from bnlab.models.blocks import ACTIVATIONS
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.schema_models import CNNConfig, MLPConfig

NUM_IMAGES = 30
NEED_IMAGES = {"frn", "instance", "instance_torch"}


def network(model="mlp", activation="tanh", norm="batch", **changes):
    shared = {"activation": activation, "dropout": 0.0, "init": "auto", "init_std": None, **changes}
    if model == "mlp":
        config = MLPConfig(name="mlp", **{"depth": 3, "width": 12, **shared})
    else:
        config = CNNConfig(name="cnn", depth=2, width=4, num_stages=2, **shared)
    net = build_model(config, (2, 6, 6), 5, functools.partial(build_norm, norm), "before")
    seed_weights(net, config, 0)
    return net


def probe(activation="tanh"):
    inputs = torch.randn((NUM_IMAGES, 2, 6, 6), generator=torch.Generator().manual_seed(0))
    return ProbeBatch(inputs=inputs, labels=torch.arange(NUM_IMAGES) % 5, activation=activation)


def measured_in(net, batch):
    return {role: v.item() for role, v in measure_all([GradientNorm()], net, net, batch)["gradient_norm"].items()}


def backpropagate_by_hand(net, batch):
    """Return ||dL/dW|| per layer of a tanh MLP without norms, in float64 NumPy."""
    weights = {role: linear.weight.detach().double().numpy() for role, linear in net.linears.items()}
    roles, inputs = list(weights), {}
    h = batch.inputs.flatten(1).double().numpy()
    for role in roles[:-1]:
        inputs[role] = h
        h = np.tanh(h @ weights[role].T)
    inputs["output"] = h
    logits = h @ weights["output"].T
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    delta = (softmax - np.eye(5)[batch.labels]) / NUM_IMAGES
    norms = {}
    for role in reversed(roles):
        norms[role] = np.sqrt(((delta.T @ inputs[role]) ** 2).sum())
        delta = (delta @ weights[role]) * (1 - inputs[role] ** 2)
    return norms


def test_norms_are_those_of_backpropagation_by_hand():
    net, batch = network(norm="none"), probe()
    expected = backpropagate_by_hand(net, batch)
    measured = measured_in(net, batch)
    assert list(measured) == ["hidden1", "hidden2", "hidden3", "output"]
    for role, value in measured.items():
        assert math.isclose(value, expected[role], rel_tol=1e-5)


OF_NORMS = [  # each norm in each model; the activations take turns, and all of them stand behind BatchNorm
    (m, n, a)
    for m in ("mlp", "cnn")
    for number, n in enumerate(NORMS)
    for place, a in enumerate(ACTIVATIONS)
    if (m == "cnn" or n not in NEED_IMAGES) and (n == "batch" or (number - place) % len(ACTIVATIONS) == 0)
]


@pytest.mark.parametrize(("model", "norm", "activation"), OF_NORMS)
def test_norms_are_those_of_a_float64_backward_pass_in_training_mode(model, norm, activation):
    net, batch = network(model, activation, norm), probe(activation)
    torch.manual_seed(0)  # a norm that draws noise draws the same twice
    measured = measured_in(net, batch)
    torch.manual_seed(0)
    wide = net.double().train()
    F.cross_entropy(wide(batch.inputs.double()), batch.labels).backward()
    expected = {role: np.sqrt((weight.grad.numpy() ** 2).sum()) for role, weight in wide.weights.items()}
    assert measured.keys() == expected.keys()
    for role, value in measured.items():
        assert math.isclose(value, expected[role], rel_tol=1e-4), role


def test_a_known_gradient_gives_its_frobenius_norm():
    gradients = {"hidden1": torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "output": torch.ones(2, 2, 3, 3)}
    seen = Observation(preactivations={}, activations={}, weight_gradients=gradients, activation="relu")
    assert GradientNorm().measure(seen) == pytest.approx({"hidden1": 5.0, "output": 6.0}, rel=1e-6)


def test_it_is_measured_with_the_batchs_own_statistics():
    net, batch = network(), probe()
    expected = measured_in(net, batch)
    for norm in net.norms.values():
        norm.running_mean.fill_(1e6)
        norm.running_var.fill_(1e-12)
    assert measured_in(net.eval(), batch) == expected


def test_it_shrinks_as_weights_grow_under_a_batch_norm():
    """Its blind spot: the function is the same, and the gradient ten times smaller."""
    net, batch = network(), probe()
    before = measured_in(net, batch)
    with torch.no_grad():
        net.linears["hidden2"].weight.mul_(10)
    after = measured_in(net, batch)
    assert math.isclose(after["hidden2"], before["hidden2"] / 10, rel_tol=1e-2)
    assert math.isclose(after["hidden1"], before["hidden1"], rel_tol=1e-2)


def test_a_deep_sigmoid_network_without_norm_shows_a_vanishing_gradient():
    plain, normed = (network("mlp", "sigmoid", norm, depth=8, width=40) for norm in ("none", "batch"))
    ratio = {}
    for name, net in (("none", plain), ("batch", normed)):
        measured = measured_in(net, probe("sigmoid"))
        ratio[name] = measured["hidden1"] / measured["hidden8"]
    assert ratio["none"] < 1e-3 < 0.05 < ratio["batch"]


def test_there_are_no_gradients_left_on_the_weights():
    net = network()
    measured_in(net, probe())
    assert all(parameter.grad is None for parameter in net.parameters())
