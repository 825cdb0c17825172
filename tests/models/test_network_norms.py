"""Norms that reach beyond themselves: into the weights of the linear map before them, or in the activation's place."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

import bnlab
from bnlab.config.compose import compose_run
from bnlab.diagnostics.dead_units import DeadFraction
from bnlab.diagnostics.diagnostic import ProbeBatch
from bnlab.diagnostics.gradients import GradientNorm
from bnlab.diagnostics.measuring import measure_all
from bnlab.diagnostics.saturation import Saturation
from bnlab.experiment.checking import check
from bnlab.models.blocks import NoActivation
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.network import trained_weight
from bnlab.norms.catalog import build_norm
from bnlab.schema import SGDConfig
from bnlab.schema_models import CNNConfig, MLPConfig
from bnlab.training.optim import build_optimizer

OF_WEIGHTS = ["weight_standardization", "scaled_weight_standardization"]
PLACEMENTS = ["before", "after", "input"]
SHARED = {"activation": "relu", "dropout": 0.0, "init": "auto", "init_std": None}
MLP = MLPConfig(name="mlp", depth=2, width=12, **SHARED)
CNN = CNNConfig(name="cnn", depth=2, width=8, num_stages=2, **SHARED)


def build(config, norm, placement="before", seed=0, **options):
    model = build_model(config, (4, 6, 6), 5, functools.partial(build_norm, norm, **options), placement)
    seed_weights(model, config, seed)
    return model


def images(seed=0, num=20):
    return torch.randn((num, 4, 6, 6), generator=torch.Generator().manual_seed(seed))


def probe():
    return ProbeBatch(inputs=images(), labels=torch.arange(20) % 5, activation="relu")


def hidden(model):
    return {role: block.linear for role, block in model.blocks.items()}


# --- weights that go through a parametrization ----------------------------------------------------------------------


@pytest.mark.parametrize("norm", OF_WEIGHTS)
@pytest.mark.parametrize("config", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("placement", ["before", "after"])
def test_weights_behind_which_a_norm_stands_are_standardized(norm, config, placement):
    model = build(config, norm, placement)
    for linear in hidden(model).values():
        used = linear.weight.flatten(1)
        assert used.mean(1).abs().max() < 1e-5
        squares = torch.ones(len(used)) * (used.shape[1] if norm == "weight_standardization" else 1.713**2)
        torch.testing.assert_close(used.square().sum(1), squares, rtol=1e-2, atol=0)
    assert not is_parametrized(model.output)


@pytest.mark.parametrize("norm", OF_WEIGHTS)
def test_where_only_the_input_is_normalized_no_weight_is(norm):
    model = build(MLP, norm, "input")
    assert not any(is_parametrized(linear) for linear in model.linears.values())


@pytest.mark.parametrize("norm", OF_WEIGHTS)
@pytest.mark.parametrize("config", [MLP, CNN], ids=["mlp", "cnn"])
def test_forward_is_the_formula_written_by_hand(norm, config):
    model, plain = build(config, norm), build(config, "group" if norm == "weight_standardization" else "none")
    with torch.no_grad():
        for role, linear in hidden(plain).items():
            w = model.weights[role].flatten(1)
            d = w - w.mean(1, keepdim=True)
            if norm == "weight_standardization":
                w_hat = d / (d.square().mean(1, keepdim=True) + 1e-5).sqrt()
            else:
                w_hat = 1.7128585504496627 * d / d.norm(dim=1, keepdim=True)
            linear.weight.copy_(w_hat.view_as(linear.weight))
    torch.testing.assert_close(model(images()), plain(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", OF_WEIGHTS)
def test_what_is_trained_is_what_was_drawn_and_it_learns(norm):
    model, plain = build(MLP, norm), build(MLP, "none")
    assert all(torch.equal(model.weights[role], weight) for role, weight in plain.weights.items())
    before = {role: weight.detach().clone() for role, weight in model.weights.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(images()), torch.arange(20) % 5).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    optimizer.step()
    assert not any(torch.equal(model.weights[role], weight) for role, weight in before.items())


def test_trained_weight_of_a_plain_map_is_its_weight():
    linear = nn.Linear(2, 3)
    assert trained_weight(linear) is linear.weight


@pytest.mark.parametrize("norm", OF_WEIGHTS)
@pytest.mark.parametrize("config", [MLP, CNN], ids=["mlp", "cnn"])
def test_gradient_norm_is_that_of_the_weights_that_are_trained(norm, config):
    model = build(config, norm)
    measured = measure_all([GradientNorm()], model, model, probe())["gradient_norm"]
    nn.functional.cross_entropy(model(images()), torch.arange(20) % 5).backward()
    assert list(measured) == list(model.linears)
    for role, value in measured.items():
        torch.testing.assert_close(value, trained_weight(model.linears[role]).grad.norm())


@pytest.mark.parametrize("norm", OF_WEIGHTS)
@pytest.mark.parametrize("config", [MLP, CNN], ids=["mlp", "cnn"])
def test_stacked_networks_under_vmap_are_the_separate_networks(norm, config):
    models = [build(config, norm, seed=seed) for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)
    x = torch.stack([images(seed) for seed in range(3)])

    def loss(parameters, buffers, x):
        return torch.func.functional_call(models[0], (parameters, buffers), (x,)).square().mean()

    gradients = torch.func.vmap(torch.func.grad(loss))(
        {name: value.detach() for name, value in parameters.items()}, buffers, x
    )
    for i, model in enumerate(models):
        model(x[i]).square().mean().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", OF_WEIGHTS)
def test_a_copy_is_its_own_and_a_state_dict_goes_round(norm):
    model = build(CNN, norm)
    twin, other = copy.deepcopy(model), build(CNN, norm, seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        model.weights["stage1.conv1"].zero_()
    for loaded in (twin, other):
        assert torch.equal(loaded(images()), twin(images()))
        assert not torch.equal(loaded(images()), model(images()))


@pytest.mark.parametrize("norm", OF_WEIGHTS)
def test_a_network_can_be_built_without_memory(norm):
    with torch.device("meta"):
        model = build_model(CNN, (4, 6, 6), 10, functools.partial(build_norm, norm), "before")
        assert model(torch.zeros(2, 4, 6, 6)).shape == (2, 10)
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}


def test_weight_decay_pulls_at_what_is_trained_and_spares_the_gain():
    model = build(MLP, "scaled_weight_standardization")
    config = SGDConfig(
        name="sgd", lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.1, decay_norm_and_bias=False, clip_norm=None
    )
    decayed = {id(parameter) for parameter in build_optimizer(model, model.norms, config).param_groups[0]["params"]}
    assert decayed == {id(weight) for weight in model.weights.values()}
    assert len(decayed) == 3


def test_the_gain_is_that_of_the_models_activation():
    config = compose_run(["norm=scaled_weight_standardization", "model.activation=tanh"])
    assert config.norm.options["activation"] == "tanh"
    config = compose_run(["norm=scaled_weight_standardization", "model.activation=tanh", "norm.activation=relu"])
    assert config.norm.options["activation"] == "relu"


@pytest.mark.slow
@pytest.mark.parametrize("norm", [*OF_WEIGHTS, "frn"])
def test_a_run_is_trained_watched_and_loaded(norm):
    words = ["data=synthetic", "train.steps=6", "model=cnn", "model.width=8", "train.log_every=1", f"norm={norm}"]
    watched = bnlab.train([*words, "diagnostics=full", "diagnostics.schedule.every=1"], runs="a")
    alone = bnlab.train([*words, "diagnostics=none"], runs="b")
    seen, unseen = (
        torch.load(Path(run.folder) / "checkpoint.pt", weights_only=True)["model"] for run in (watched, alone)
    )
    assert all(torch.equal(value, unseen[name]) for name, value in seen.items())
    model, data = bnlab.load_model(watched.folder), check(compose_run(words)).data.test
    accuracy = (model(data.images).argmax(1) == data.labels).double().mean().item()
    assert accuracy == watched.test_accuracy


# --- norms that bring their own nonlinearity ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("placement", "options", "is_replaced"),
    [("before", {}, True), ("before", {"tlu": False}, False), ("after", {}, False), ("input", {}, False)],
)
def test_the_activation_is_left_out_only_where_the_norm_before_it_replaces_it(placement, options, is_replaced):
    model = build(CNN, "frn", placement, **options)
    roles = ["stage1.conv1", "stage2.conv1"]
    assert list(model.activations) == roles
    assert model.replaced_activations == (frozenset(roles) if is_replaced else frozenset())
    kinds = {type(activation) for activation in model.activations.values()}
    assert kinds == {NoActivation if is_replaced else nn.ReLU}


def test_with_the_norm_in_its_place_the_network_is_the_formula_written_by_hand():
    model, plain = build(CNN, "frn"), build(CNN, "frn", tlu=False)
    assert torch.equal(model(images()), plain(images()))  # at the start the threshold is 0, as the ReLU's
    with torch.no_grad():
        for norm in model.norms.values():
            norm.tau.fill_(-0.3)
    h = images()
    for role in ("stage1.conv1", "stage2.conv1"):
        z = nn.functional.conv2d(h, model.weights[role], padding=1)
        h = (z * (z.square().mean((2, 3), keepdim=True) + 1e-6).rsqrt()).clamp(min=-0.3)
        h = nn.functional.max_pool2d(h, 2)
    torch.testing.assert_close(model.features(images()), h.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_what_is_left_out_is_not_measured_and_all_else_is():
    """The rules of a ReLU would misread a learned threshold: better no number than a wrong one."""
    diagnostics = [Saturation(), DeadFraction(), GradientNorm()]
    replaced, plain = build(CNN, "frn"), build(CNN, "frn", tlu=False)
    measured = measure_all(diagnostics, replaced, replaced, probe())
    expected = measure_all(diagnostics, plain, plain, probe())
    assert measured["saturation"] == measured["dead_fraction"] == {}
    assert list(expected["saturation"]) == list(plain.blocks)
    torch.testing.assert_close(measured["gradient_norm"], expected["gradient_norm"])
