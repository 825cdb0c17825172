"""The scale of the logits, held against NumPy."""

import numpy as np
import pytest
import torch
from watched import network, probe

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.measuring import measure_all


def scales(net, memories):
    (values,) = measure_all(build_diagnostics(["logit_scale"]), net, net, probe(), memories=memories).values()
    return {name: value.item() for name, value in values.items()}


def test_scale_and_growth_are_numpys():
    net, memories = network(), {}
    logits = net.train()(probe().inputs).detach().double().numpy()
    expected = np.sqrt(np.mean((logits - logits.mean(1, keepdims=True)) ** 2))
    assert scales(net, memories) == {"network/scale": pytest.approx(expected, rel=1e-5), "network/growth": 1}
    with torch.no_grad():
        net.output.weight.mul_(5)
        net.output.bias.mul_(5)
    for _ in range(2):  # the start stays the start
        assert scales(net, memories) == {
            "network/scale": pytest.approx(5 * expected, rel=1e-5),
            "network/growth": pytest.approx(5, rel=1e-5),
        }


def test_what_softmax_does_not_see_does_not_count():
    net = network()
    before = scales(net, {})
    with torch.no_grad():
        net.output.bias.add_(100)
    assert scales(net, {})["network/scale"] == pytest.approx(before["network/scale"], rel=1e-3)
