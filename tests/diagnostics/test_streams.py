"""The variance of the residual stream, against streams of known variance and NumPy on what units gave."""

import numpy as np
import pytest
import torch
from watched import in_float64, measured, probe

from bnlab.diagnostics.diagnostic import Observation
from bnlab.diagnostics.streams import StreamVariance
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import NoNorm, build_norm
from bnlab.schema_models import ResidualMLPConfig, ResNetConfig


def mlp(order="pre", norm="layer", depth=6, width=256, **changes):
    settings = {"depth_scale": "none", "residual": "plain", "activation": "relu", "dropout": 0.0, "init": "auto"}
    config = ResidualMLPConfig(
        name="residual_mlp", depth=depth, width=width, order=order, init_std=None, **{**settings, **changes}
    )
    build = NoNorm if norm == "none" else lambda num_channels: build_norm(norm, num_channels)
    model = build_model(config, (2, 6, 6), 5, build, "before")
    seed_weights(model, config, 0)
    return model


def resnet():
    shared = {"shortcut": "identity", "residual": "plain", "branch_scale": 0.2, "zero_gamma": False, "init": "auto"}
    config = ResNetConfig(name="resnet", depth=14, width=4, block="pre", activation="relu", init_std=None, **shared)
    model = build_model(config, (2, 6, 6), 5, lambda num_channels: build_norm("batch", num_channels), "before")
    seed_weights(model, config, 0)
    return model


def of_streams(streams):
    seen = Observation(preactivations={}, activations={}, weight_gradients={}, activation="relu", streams=streams)
    return {role: value.item() for role, value in StreamVariance().measure(seen).items()}


def with_variance(variance):
    """Return values whose variance is exactly that, around a mean of 5."""
    return 5 + variance**0.5 * torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)


def test_a_stream_to_which_each_unit_adds_the_same_has_power_one():
    found = of_streams({f"unit{i}" if i else "start": with_variance(3.0 * (i + 1)) for i in range(5)})
    assert found["unit4"] == pytest.approx(15)
    assert found["network/power"] == pytest.approx(1)


def test_a_stream_that_doubles_at_each_unit_has_rate_two():
    found = of_streams({f"unit{i}" if i else "start": with_variance(2.0**i) for i in range(5)})
    assert found["network/rate"] == pytest.approx(2)
    assert found["network/power"] > 1.5


def test_a_stream_that_stays_has_rate_one_and_power_zero():
    found = of_streams({name: with_variance(7.0) for name in ("start", "unit1", "unit2")})
    assert (found["network/rate"], found["network/power"]) == pytest.approx((1, 0))


@pytest.mark.parametrize("build", [mlp, resnet])
def test_it_is_the_variance_of_what_units_gave(build):
    with in_float64():
        model, kept = build(), {}

        def keep(role):
            return lambda _, args, y: kept.__setitem__(role, (args[0], y))

        for role, unit in model.streams.items():
            unit.register_forward_hook(keep(role))
        found = measured("stream_variance", model, probe())
    first = next(iter(model.streams))
    expected = {"start": kept[first][0], **{role: y for role, (_, y) in kept.items()}}
    assert list(found) == [*expected, "network/rate", "network/power"]
    for role, x in expected.items():
        assert found[role] == pytest.approx(np.var(x.detach().numpy()), rel=1e-9), role
    y, levels = np.log([found[role] for role in expected]), np.arange(len(expected))
    assert found["network/rate"] == pytest.approx(np.exp(np.polyfit(levels, y, 1)[0]), rel=1e-9)
    assert found["network/power"] == pytest.approx(np.polyfit(np.log(levels + 1), y, 1)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("order", "norm", "low", "high"),
    [("pre", "layer", 0.9, 1.1), ("peri", "layer", 0.9, 1.1), ("post", "layer", -0.05, 0.05)],
)
def test_at_the_start_it_grows_by_one_per_unit_or_stays(order, norm, low, high):
    assert low < measured("stream_variance", mlp(order, norm), probe())["network/power"] < high


def test_without_a_norm_it_doubles_at_each_unit():
    assert measured("stream_variance", mlp(norm="none"), probe())["network/rate"] == pytest.approx(2, rel=0.1)
