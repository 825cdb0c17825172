"""Gradients under moved layers: a closed form, finite differences, and networks put together by hand."""

import copy
import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stacked import looked_at_together
from torch import nn
from watched import images, in_float64, measured, network, probe

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Batch, Moment, ProbeBatch
from bnlab.diagnostics.gradient_shift import _compare
from bnlab.diagnostics.measuring import measure_all
from bnlab.models.blocks import ACTIVATIONS
from bnlab.norms.names import NORMS

NEED_IMAGES = {"frn", "instance", "instance_torch"}
GROUPED = {"group", "group_torch", "weight_standardization"}
AT_THE_INPUT = {"batch", "dyt", "none"}
CASES = [  # a norm stands before the activation in one model and after it in the other, and at the input in both
    (model, norm, placement)
    for model, (number, norm), placement in itertools.product(
        ("mlp", "cnn"), enumerate(NORMS), ("before", "after", "input")
    )
    if (norm in NEED_IMAGES and model == "cnn" and placement != "input")
    or (norm in AT_THE_INPUT and placement == "input")
    or (norm not in NEED_IMAGES and placement == ("before", "after")[((model == "cnn") + number) % 2])
]


def build(model="mlp", norm="batch", placement="before", activation="tanh", **more):
    groups = {"num_groups": 2} if norm in GROUPED else {}
    return network(model, activation, norm, placement, **groups, **more)


def minibatch(seed=3, num_images=20):
    return Batch(images(num_images, seed).to(torch.get_default_dtype()), torch.arange(num_images) % 5)


def step(net, batch, lr=0.5):
    """Make a step of SGD on all parameters; return the network as it was before it."""
    before = copy.deepcopy(net)
    twin = copy.deepcopy(net).train()  # whose buffers move
    loss = F.cross_entropy(twin(batch.inputs), batch.labels)
    gradients = torch.autograd.grad(loss, list(twin.parameters()), materialize_grads=True)
    with torch.no_grad():
        for value, gradient in zip(net.parameters(), gradients, strict=True):
            value.sub_(lr * gradient)
    return before


def moment_of(before, batch):
    return Moment({name: value.detach().clone() for name, value in before.named_parameters()}, batch)


def shift_of(net, before, batch, activation="tanh"):
    watched = probe(activation)
    watched = ProbeBatch(watched.inputs.to(batch.inputs.dtype), watched.labels, activation)
    return measured("gradient_shift", net, watched, moment=moment_of(before, batch))


def put_together(before, after, roles_that_moved):
    """Return a copy of the old network in which some blocks are the new ones, module by module."""
    mixed = copy.deepcopy(before)
    with torch.no_grad():
        for role in roles_that_moved:
            parts = (mixed.input, after.input) if role == "input" else (mixed.blocks[role], after.blocks[role])
            for old, new in zip(*(list(part.parameters()) for part in parts), strict=True):
                old.copy_(new)
    return mixed.train()


def gradient_in(net, batch, role):
    """Return dL/dW of one layer by a backward pass through a copy, flat, as float64."""
    twin = copy.deepcopy(net).train()
    F.cross_entropy(twin(batch.inputs), batch.labels).backward()
    return twin.weights[role].grad.double().numpy().ravel()


def figures(old, new):
    norm = np.linalg.norm(new - old)
    return norm, norm / np.linalg.norm(old), old @ new / np.linalg.norm(old) / np.linalg.norm(new)


@pytest.mark.slow_but(6)
@pytest.mark.parametrize(("model", "norm", "placement"), CASES)
def test_it_is_that_of_networks_put_together_by_hand(model, norm, placement):
    with in_float64():
        net, batch = build(model, norm, placement).double(), minibatch()
        before = step(net, batch)
        torch.manual_seed(0)  # a norm that draws noise draws the same in each pass
        found = shift_of(net, before, batch)
        roles = list(net.linears)
        learns_at_the_input = placement == "input" and norm != "none"
        expected_roles = roles if learns_at_the_input else roles[1:]
        assert list(found) == [f"{role}/{facet}" for role in expected_roles for facet in ("norm", "relative", "cosine")]
        for role in expected_roles:
            moved = [*(["input"] if learns_at_the_input else []), *roles[: roles.index(role)]]
            gradients = []
            for one in (before, put_together(before, net, moved)):
                torch.manual_seed(0)
                gradients.append(gradient_in(one, batch, role))
            assert np.linalg.norm(gradients[0]) > 1e-12  # or nothing was compared
            for facet, value in zip(("norm", "relative", "cosine"), figures(*gradients), strict=True):
                assert found[f"{role}/{facet}"] == pytest.approx(value, rel=1e-7, abs=1e-10), (role, facet)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_so_it_is_in_float32_under_any_activation(activation):
    net, batch = build(activation=activation), minibatch()
    before = step(net, batch)
    found = shift_of(net, before, batch, activation)
    roles = list(net.linears)
    for place, role in enumerate(roles[1:], 1):
        gradients = [gradient_in(one, batch, role) for one in (before, put_together(before, net, roles[:place]))]
        for facet, value in zip(("norm", "relative", "cosine"), figures(*gradients), strict=True):
            assert found[f"{role}/{facet}"] == pytest.approx(value, rel=1e-3, abs=1e-5), (role, facet)


def test_it_is_that_of_finite_differences():
    with in_float64():
        net, batch = build(depth=2).double(), minibatch()
        before = step(net, batch, lr=2.0)
        found = shift_of(net, before, batch)
        gradients = []
        for one in (before, put_together(before, net, ["hidden1"])):
            weight, by_hand, h = one.train().weights["hidden2"], [], 1e-5
            with torch.no_grad():
                for entry in weight.view(-1):
                    sides = []
                    for sign in (1, -1):
                        entry.add_(sign * h)
                        sides.append(F.cross_entropy(one(batch.inputs), batch.labels).item())
                        entry.sub_(sign * h)
                    by_hand.append((sides[0] - sides[1]) / (2 * h))
            gradients.append(np.array(by_hand))
        for facet, value in zip(("norm", "relative", "cosine"), figures(*gradients), strict=True):
            assert found[f"hidden2/{facet}"] == pytest.approx(value, rel=1e-5)
        assert found["hidden2/relative"] > 0.1


class Linear(nn.Module):
    """Two linear maps and nothing between them."""

    activations, norms, replaced_activations = {}, {}, frozenset()
    scale_invariant_weights = frozenset()

    def __init__(self, first, second):
        super().__init__()
        layers = OrderedDict(first=nn.Linear(first.shape[1], len(first), bias=False))
        layers["second"] = nn.Linear(second.shape[1], len(second), bias=False)
        self.layers = nn.Sequential(layers)
        with torch.no_grad():
            layers["first"].weight.copy_(torch.from_numpy(first))
            layers["second"].weight.copy_(torch.from_numpy(second))

    @property
    def weights(self):
        return {f"layers.{name}": layer.weight for name, layer in self.layers.named_children()}

    def forward(self, x):
        return self.layers(x)


def test_two_linear_layers_have_a_closed_form():
    """dL/dW2 = (softmax(W2 W1 x) - y) (W1 x)^T, mean over x; W1 moves, W2 does not, however far it went itself."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 4)), np.eye(3)[np.arange(30) % 3]
    w1, moved, w2 = random.normal(size=(5, 4)), random.normal(size=(5, 4)), random.normal(size=(3, 5))

    def gradient(first):
        h = x @ first.T
        odds = np.exp(h @ w2.T)
        return ((odds / odds.sum(1, keepdims=True) - y).T @ h).ravel() / len(x)

    with in_float64():
        before, after = Linear(w1, w2), Linear(moved, w2 + 100)
        batch = Batch(torch.from_numpy(x), torch.arange(30) % 3)
        found = measured("gradient_shift", after, ProbeBatch(*batch, "none"), moment=moment_of(before, batch))
    norm, relative, cosine = figures(gradient(w1), gradient(moved))
    assert found == pytest.approx(
        {"layers.second/norm": norm, "layers.second/relative": relative, "layers.second/cosine": cosine}, rel=1e-10
    )


def test_a_layer_behind_one_that_doubles_is_told_twice_as_much():
    """At logits of zero: its input doubles, what comes back to it does not."""
    net, batch = build(norm="none", depth=1, activation="relu"), minibatch()
    with torch.no_grad():
        net.output.weight.zero_()
    before = copy.deepcopy(net)
    with torch.no_grad():
        net.blocks["hidden1"].linear.weight.mul_(2)
    found = shift_of(net, before, batch, "relu")
    assert found["output/relative"] == pytest.approx(1, rel=1e-5)
    assert found["output/cosine"] == pytest.approx(1, rel=1e-6)


def test_only_what_stands_before_a_layer_moves_it():
    net, batch = build(), minibatch()
    before = copy.deepcopy(net)
    with torch.no_grad():
        for part in (net.blocks["hidden2"], net.blocks["hidden3"], net.output):
            for value in part.parameters():
                value.add_(1)
    found = shift_of(net, before, batch)
    assert [found[f"hidden2/{facet}"] for facet in ("norm", "relative", "cosine")] == [0, 0, 1]
    assert found["hidden3/relative"] > 1e-3


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_gamma_and_beta_of_a_layer_before_move_it(name):
    net, batch = build(), minibatch()
    before = copy.deepcopy(net)
    with torch.no_grad():
        getattr(net.blocks["hidden1"].norm, name).add_(torch.linspace(-1, 1, 12))
    assert shift_of(net, before, batch)["hidden2/relative"] > 1e-3


def test_nothing_is_said_without_an_update_or_its_batch():
    net, batch = build(), minibatch()
    diagnostics = build_diagnostics(["gradient_shift"])
    assert measure_all(diagnostics, net, net, probe()) == {}
    moment = moment_of(net, batch)
    assert measure_all(diagnostics, net, net, probe(), Moment(moment.previous)) == {"gradient_shift": {}}


def test_it_is_measured_with_the_batchs_own_statistics():
    net, batch = build(), minibatch()
    before = step(net, batch)
    expected = shift_of(net, before, batch)
    for norm in net.norms.values():
        norm.running_mean.fill_(1e6)
        norm.running_var.fill_(1e-12)
    assert shift_of(net.eval(), before, batch) == expected


def test_layers_that_get_no_gradient_have_a_shift_of_nothing():
    net, batch = build(norm="none", activation="relu"), minibatch()
    with torch.no_grad():
        net.blocks["hidden3"].linear.bias.fill_(-1e3)
    before = copy.deepcopy(net)
    with torch.no_grad():
        net.blocks["hidden1"].linear.weight.mul_(1.1)
    found = shift_of(net, before, batch, "relu")
    for role in ("hidden2", "hidden3"):
        assert [found[f"{role}/{facet}"] for facet in ("norm", "relative", "cosine")] == [0, 0, 1]


def test_a_gradient_out_of_nothing_is_infinitely_more_and_in_no_direction():
    none, some = torch.zeros(3), torch.tensor([0.0, 3.0, 4.0])
    assert [value.item() for value in _compare("x", none, some).values()] == [5, math.inf, 0]
    assert [value.item() for value in _compare("x", some, none).values()] == [5, 1, 0]


def test_gradients_too_small_to_be_multiplied_still_have_an_angle():
    old, new = torch.tensor([3e-30, 0.0]), torch.tensor([3e-30, 3e-30])
    values = _compare("x", old, new)
    assert values["x/cosine"].item() == pytest.approx(math.sqrt(0.5), rel=1e-5)
    assert values["x/relative"].item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("where", ["before", "after"])
def test_weights_that_are_no_numbers_show(where):
    net, batch = build(norm="none"), minibatch()
    before = step(net, batch)
    with torch.no_grad():
        next((before if where == "before" else net).parameters())[0, 0] = math.nan
    assert all(math.isnan(value) for value in shift_of(net, before, batch).values())


@pytest.mark.parametrize(("model", "norm"), [("mlp", "none"), ("mlp", "batch"), ("cnn", "batch"), ("cnn", "layer")])
def test_together_each_has_the_shift_that_it_has_alone(model, norm):
    nets = [build(model, norm, seed=seed) for seed in range(3)]
    batches = [minibatch(seed) for seed in range(3)]
    befores = [step(net, batch) for net, batch in zip(nets, batches, strict=True)]
    moments = [moment_of(before, batch) for before, batch in zip(befores, batches, strict=True)]
    expected = [shift_of(*each) for each in zip(nets, befores, batches, strict=True)]
    found = looked_at_together(["gradient_shift"], nets, probe(), moments, [{} for _ in nets])
    for said, wanted in zip(found, expected, strict=True):
        assert said["gradient_shift"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert expected[0] != pytest.approx(expected[1], rel=1e-2)


def test_values_are_scalars_that_hold_no_graph_and_no_gradient_is_left():
    net, batch = build(), minibatch()
    before = step(net, batch)
    (values,) = measure_all(build_diagnostics(["gradient_shift"]), net, net, probe(), moment_of(before, batch)).values()
    assert all(value.shape == () and not value.requires_grad for value in values.values())
    assert all(value.grad is None for value in net.parameters())
