"""What an update did to the weights, held against NumPy in float64 on stored weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import in_float64, measured, network, probe

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Moment, Observation
from bnlab.diagnostics.measuring import measure_all
from bnlab.diagnostics.updates import AngularUpdate, EffectiveLearningRate, UpdateRatio

OPTIONS = {name: {"num_groups": 2} for name in ("group", "weight_standardization")}
CASES = [
    (model, norm, placement)
    for model in ("mlp", "cnn")
    for norm in ("batch", "layer", "group", "weight_standardization", "scaled_weight_standardization", "none", "rms")
    for placement in ("before", "after")
]


def moved(net, seed=0, size=0.1):
    """Move a network's parameters at random; return them as they were."""
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(size * torch.randn(value.shape, generator=generator))
    return before


def before_and_after(net, before):
    """Return role -> (W(t-1), W(t)), as float64 matrices."""
    names = {id(value): name for name, value in net.named_parameters()}
    return {
        role: tuple(w.detach().double().flatten(1).numpy() for w in (before[names[id(weight)]], weight))
        for role, weight in net.weights.items()
    }


def angle(u, v):
    return math.acos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))


def median(values):
    """Return torch's median: of two in the middle, the smaller."""
    return sorted(values)[(len(values) - 1) // 2]


@pytest.mark.parametrize(("model", "norm", "placement"), CASES)
def test_all_three_are_numpys(model, norm, placement):
    net = network(model, norm=norm, placement=placement, **OPTIONS.get(norm, {}))
    moment = Moment(moved(net), None, torch.tensor(0.3))
    names = ("update_ratio", "angular_update", "effective_lr")
    ratios, angles, rates = (measured(name, net, probe(), moment=moment) for name in names)
    expected = {name: {} for name in names}
    for role, (old, new) in before_and_after(net, moment.previous).items():
        expected["update_ratio"][role] = np.linalg.norm(new - old) / np.linalg.norm(old)
        free = net.scale_invariant_weights.get(role)
        if free:
            expected["angular_update"][role] = angle(old.ravel(), new.ravel())
            expected["effective_lr"][role] = 0.3 / (new**2).sum()
        if free == "rows":
            expected["angular_update"][f"{role}/median_row"] = median(
                [angle(u, v) for u, v in zip(old, new, strict=True)]
            )
            expected["effective_lr"][f"{role}/median_row"] = median([0.3 / (v**2).sum() for v in new])
    assert ratios == pytest.approx(expected["update_ratio"], rel=1e-5)
    assert angles == pytest.approx(expected["angular_update"], rel=1e-5)
    assert rates == pytest.approx(expected["effective_lr"], rel=1e-5)


def turned(old, new, free="rows"):
    """Return the angular update of one weight."""
    seen = Observation(
        {},
        {},
        {},
        "tanh",
        weights={"x": new},
        names={"x": "x.weight"},
        scale_invariant={"x": free},
        moment=Moment({"x.weight": old}),
    )
    return {role: value.item() for role, value in AngularUpdate().measure(seen).items()}


@pytest.mark.parametrize("exponent", range(-6, 1))
def test_an_angle_is_exact_however_small(exponent):
    """In float32, where an arccos knows nothing of angles below 3e-4."""
    generator = torch.Generator().manual_seed(0)
    old = torch.randn((20, 300), generator=generator)
    new = old + 10.0**exponent * torch.randn(old.shape, generator=generator)
    u, v = old.double(), new.double()
    across = v - (u * v).sum() / (u * u).sum() * u
    expected = math.atan2((across.norm() * u.norm()).item(), (u * v).sum().item())
    assert turned(old, new)["x"] == pytest.approx(expected, rel=1e-5)
    naive = torch.arccos((old * new).sum() / old.norm() / new.norm()).item()
    assert exponent > -4 or abs(naive / expected - 1) > 0.1  # or there was nothing to be careful about


@pytest.mark.parametrize("degrees", [0, 30, 90, 150, 180])
def test_large_angles_are_told_apart(degrees):
    old, new = torch.zeros(3, 2), torch.zeros(3, 2)
    old[:, 0] = 2.0
    new[:, 0], new[:, 1] = 5 * math.cos(math.radians(degrees)), 5 * math.sin(math.radians(degrees))
    assert turned(old, new) == pytest.approx(
        {"x": math.radians(degrees), "x/median_row": math.radians(degrees)}, abs=1e-6
    )


def test_a_weight_of_one_row_or_one_value_has_an_angle():
    assert turned(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))["x/median_row"] == pytest.approx(math.pi / 2)
    assert turned(torch.tensor([[2.0]]), torch.tensor([[-1.0]]))["x/median_row"] == pytest.approx(math.pi)


def test_rows_of_zero_turn_by_nothing():
    assert turned(torch.zeros(2, 3), torch.ones(2, 3)) == {"x": 0, "x/median_row": 0}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_weights_do_not_look_healthy(broken):
    old, new = torch.ones(2, 3), torch.ones(2, 3)
    new[0, 0] = broken
    assert all(math.isnan(value) for value in turned(old, new).values())
    seen = Observation({}, {}, {}, "tanh", weights={"x": new}, names={"x": "x"}, moment=Moment({"x": old}))
    assert not math.isfinite(UpdateRatio().measure(seen)["x"].item())


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_scaling_rows_turns_them_by_nothing(model):
    net = network(model)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        for block in net.blocks.values():
            block.linear.weight.mul_(7)
    found = measured("angular_update", net, probe(), moment=Moment(before))
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_rate_of_a_squared_on_weights_a_times_as_large_makes_the_same_steps(norm):
    """What the effective learning rate means, seen in training by plain SGD."""
    found = []
    with in_float64():
        for factor in (1.0, 8.0):
            net, batch = network(norm=norm, eps=1e-12), probe()
            lr = 0.05 * factor**2
            inner = [block.linear.weight for block in net.blocks.values()]
            with torch.no_grad():
                for weight in inner:
                    weight.mul_(factor)
            before = {name: value.detach().clone() for name, value in net.named_parameters()}
            moment = Moment(before, None, torch.tensor(lr))
            rates = measured("effective_lr", net, batch, moment=moment)
            F.cross_entropy(net.train()(batch.inputs), batch.labels).backward()
            torch.optim.SGD(inner, lr=lr).step()
            found.append((rates, measured("angular_update", net, batch, moment=moment)))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)
    assert min(found[0][1].values()) > 1e-4


def test_angles_settle_at_the_root_of_twice_rate_times_decay():
    """Wan et al. 2020: random steps across a weight grow it, decay shrinks it; the angle is where both balance."""
    generator, lr, decay = torch.Generator().manual_seed(0), 0.1, 0.02
    weight = torch.randn((1, 4000), generator=generator)
    for _ in range(3000):
        old = weight
        g = torch.randn(weight.shape, generator=generator)
        g = (g - (g * weight).sum() / weight.square().sum() * weight) / weight.norm()
        weight = weight - lr * (g + decay * weight)
    assert turned(old, weight)["x"] == pytest.approx(math.sqrt(2 * lr * decay), rel=0.03)


def test_before_the_first_update_there_is_only_a_rate():
    net = network()
    diagnostics = build_diagnostics(["update_ratio", "angular_update", "effective_lr"])
    values = measure_all(diagnostics, net, net, probe(), Moment(None, None, torch.tensor(0.1)))
    assert values.keys() == {"effective_lr"}
    assert values["effective_lr"].keys() == {f"hidden{i}{facet}" for i in (1, 2, 3) for facet in ("", "/median_row")}
    assert measure_all(diagnostics, net, net, probe()) == {"effective_lr": {}}


def test_one_shrunken_row_does_not_make_the_typical_rate():
    weight = torch.ones(5, 4)
    weight[0] = 1e-6
    seen = Observation(
        {},
        {},
        {},
        "relu",
        weights={"x": weight},
        scale_invariant={"x": "rows"},
        moment=Moment(None, None, torch.tensor(0.4)),
    )
    found = EffectiveLearningRate().measure(seen)
    assert found["x/median_row"].item() == pytest.approx(0.1)
    assert found["x"].item() == pytest.approx(0.4 / 16)


def test_what_an_optimizer_did_is_what_is_measured():
    net, batch = network(norm="none"), probe()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    F.cross_entropy(net.train()(batch.inputs), batch.labels).backward()
    relative = measured("relative_gradient_norm", net, batch)
    torch.optim.SGD(net.parameters(), lr=0.3).step()
    found = measured("update_ratio", net, batch, moment=Moment(before))
    assert found == pytest.approx({role: 0.3 * value for role, value in relative.items()}, rel=1e-4)
