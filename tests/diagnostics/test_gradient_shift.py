"""Gradient shift, held against networks whose old and new weights are put together by hand, and a closed form."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import Batch, Moment

CASES = [(m, n, p) for m in ("mlp", "cnn") for n in ("batch", "layer", "none") for p in ("before", "after")]


def updated(net, batch, lr=0.5):
    """Make a step of SGD; return the parameters as they were, and the moment."""
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    loss = F.cross_entropy(net.train()(batch.inputs), batch.labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for value, gradient in zip(net.parameters(), gradients, strict=True):
            value.sub_(lr * gradient)
    return before, Moment(before, batch, torch.tensor(lr))


def brute_shift(net, before, batch, role):
    """Return the three figures of one layer: a network with old and new weights put together by hand, in float64."""
    roles = list(net.linears)
    after = {name: value.detach().clone() for name, value in net.named_parameters()}
    later = tuple(f"{one}." for one in roles[roles.index(role) :])
    gradients = []
    for mixed in (before, {n: before[n] if n.startswith(later) else after[n] for n in after}):
        wide = network(**net.recipe).double()
        wide.load_state_dict({**net.state_dict(), **mixed})
        loss = F.cross_entropy(wide.train()(batch.inputs.double()), batch.labels)
        gradients.append(torch.autograd.grad(loss, wide.weights[role])[0].numpy().ravel())
    old, new = gradients
    distance = np.linalg.norm(new - old)
    return distance, distance / np.linalg.norm(old), new @ old / np.linalg.norm(new) / np.linalg.norm(old)


@pytest.mark.parametrize(("model", "norm", "placement"), [*CASES, ("mlp", "batch", "input"), ("cnn", "none", "input")])
def test_gradient_shift_is_that_of_networks_put_together_by_hand(model, norm, placement):
    recipe = {"model": model, "norm": norm, "placement": placement}
    net = network(**recipe)
    net.recipe = recipe
    batch = Batch(images(20, 3), torch.arange(20) % 5)
    before, moment = updated(net, batch)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    found = measured("gradient_shift", net, probe(), moment=moment)
    with_something_before = [
        r for r in net.linears if r != next(iter(net.linears)) or ("input" in net.norms and norm != "none")
    ]
    assert {key.rpartition("/")[0] for key in found} == set(with_something_before)
    for role in with_something_before:
        expected = brute_shift(net, before, batch, role)
        for facet, value in zip(("norm", "relative", "cosine"), expected, strict=True):
            assert found[f"{role}/{facet}"] == pytest.approx(value, rel=2e-3, abs=1e-5), facet
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())


def test_a_layer_whose_predecessors_stand_still_has_no_shift():
    net = network(norm="none")
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        net.blocks["hidden3"].linear.weight.mul_(2)
        net.output.weight.mul_(3)
    batch = Batch(images(20), torch.arange(20) % 5)
    found = measured("gradient_shift", net, probe(), moment=Moment(before, batch))
    assert found["hidden2/norm"] == found["hidden3/norm"] == 0
    assert found["hidden3/cosine"] == pytest.approx(1)
    assert found["output/norm"] > 0


def test_a_linear_head_behind_a_scaled_layer_has_a_closed_form():
    """A relu layer times 2 doubles what the head sees: near logits of zero its gradient doubles, direction kept."""
    net = network(activation="relu", norm="none", depth=1)
    with torch.no_grad():
        net.output.weight.mul_(1e-6)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        net.blocks["hidden1"].linear.weight.mul_(2)
        net.blocks["hidden1"].linear.bias.mul_(2)
    batch = Batch(images(20), torch.arange(20) % 5)
    found = measured("gradient_shift", net, probe("relu"), moment=Moment(before, batch))
    assert found["output/relative"] == pytest.approx(1, rel=1e-3)
    assert found["output/cosine"] == pytest.approx(1, rel=1e-5)
