"""Measuring leaves no trace in weights, buffers, modes, gradients, hooks or random numbers, also after an error."""

import copy
import dataclasses
import functools
import itertools

import pytest
import torch
from composed import compose_parts
from folded import folded
from torch import nn

from bnlab.diagnostics import curvature
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.diagnostic import Batch, Moment, ProbeBatch
from bnlab.diagnostics.measuring import looking_at, measure_all
from bnlab.diagnostics.taps import leaving_no_trace, shifted, tapped
from bnlab.errors import ConfigError
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.schema_models import CNNConfig, MLPConfig

MODELS = {
    "mlp": MLPConfig(name="mlp", depth=2, width=12, activation="relu", dropout=0.0, init="auto", init_std=None),
    "cnn": CNNConfig(
        name="cnn", depth=2, width=4, num_stages=2, activation="relu", dropout=0.0, init="auto", init_std=None
    ),
}
NEED_SPACE = {"frn", "instance", "instance_torch"}
QUICK_IN_CNN = {"batch", "frn", "instance"}
"""Norms whose quick tests have a convolutional net too: the others' are those of a perceptron."""

CASES = [  # each norm in one placement and mode of a perceptron, and in the other ones of a convolutional net
    pytest.param(
        *(model, norm, "before" if is_first else "after", is_first == (number // 2 % 2 == 0)),
        marks=[pytest.mark.slow] * (model == "cnn" and norm not in QUICK_IN_CNN),
    )
    for model, (number, norm), is_first in itertools.product(MODELS, enumerate(NORMS), [True, False])
    if (norm in NEED_SPACE and model == "cnn")
    or (norm not in NEED_SPACE and is_first == ((model == "mlp") == (number % 2 == 0)))
]


def images(seed=0):
    return torch.randn((16, 2, 8, 8), generator=torch.Generator().manual_seed(seed))


def probe(inputs=None):
    labels = torch.arange(16) % 5
    population = (Batch(images(4)[:8], labels[:8]), Batch(images(4)[8:], labels[8:]))
    return ProbeBatch(images() if inputs is None else inputs, labels, "relu", population)


def after_an_update(net):
    """Return what is known of an update that has just been made."""
    previous = {name: value.detach() + 0.01 for name, value in net.named_parameters()}
    return Moment(previous, Batch(images(5), torch.arange(16) % 5), torch.tensor(0.1))


def network(model="mlp", norm="batch", placement="before"):
    config = MODELS[model]
    net = build_model(config, (2, 8, 8), 5, functools.partial(build_norm, norm), placement)
    seed_weights(net, config, 0)
    net(images(seed=9)).square().mean().backward()  # so that there are gradients and moved averages to disturb
    return net


def everything_about(model):
    """Return all that a look could change, copied; identities of tensors too, since an optimizer holds on to them."""
    return {
        "tensors": {name: value.clone() for name, value in model.state_dict().items()},
        "identities": {name: id(value) for name, value in [*model.named_parameters(), *model.named_buffers()]},
        "gradients": {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: [len(getattr(module, kind)) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
            for name, module in model.named_modules()
        },
        "random": torch.get_rng_state(),
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for kind, facts in before.items():
        if kind == "random":
            assert torch.equal(facts, after[kind])
        elif kind in {"tensors", "gradients"}:
            assert facts.keys() == after[kind].keys()
            assert [name for name in facts if not torch.equal(facts[name], after[kind][name])] == []
        else:
            assert facts == after[kind], kind


@pytest.mark.slow_but(2)
@pytest.mark.parametrize(("model", "norm", "placement", "training"), CASES)
def test_measuring_leaves_no_trace(model, norm, placement, training, monkeypatch):
    few_steps = functools.partial(curvature.largest_eigenvalue, num_steps=2)  # all steps do the same
    monkeypatch.setattr(curvature, "largest_eigenvalue", few_steps)
    net = network(model, norm, placement).train(training)
    net.blocks[next(iter(net.blocks))].norm.training = not training  # a mode of its own, which must survive too
    before = everything_about(net)
    memories = {}
    measured = measure_all(build_diagnostics(list(DIAGNOSTICS)), net, net, probe(), after_an_update(net), memories)
    assert measured.keys() == DIAGNOSTICS.keys()
    if len(net.replaced_activations) < len(net.activations):
        assert memories.keys() == {"preactivation_drift", "drift_from_start", "wasserstein_drift", "logit_scale"}
    measure_all(build_diagnostics(sorted(memories)), net, net, probe(), after_an_update(net), memories)  # and again
    assert_same(before, everything_about(net))


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize(
    "words",
    [
        ["model=vit", "model.width=8", "model.num_heads=2", "model.depth=1", "model.order=peri"],
        ["model=lstm", "model.width=8"],
        ["model=lstm", "model.width=8", "model.norm_per_step=false", "model.skip_padding=true"],
        ["model=rnn", "model.width=8", "model.sequence=pixels", "model.permute=true", "model.activation=relu"],
    ],
)
def test_measuring_a_network_of_tokens_or_time_steps_leaves_no_trace(words, norm, monkeypatch):
    few_steps = functools.partial(curvature.largest_eigenvalue, num_steps=2)  # all steps do the same
    monkeypatch.setattr(curvature, "largest_eigenvalue", few_steps)
    config = compose_parts([*words, "data.padding_value=0"]).model
    net = build_model(config, (2, 4, 4), 5, functools.partial(build_norm, norm), "before")
    seed_weights(net, config, 0)
    inputs = images()[:, :, :4, :4].clone()
    inputs[:, :, 3] = 0  # padding, where it is skipped
    net(inputs).square().mean().backward()
    population = (Batch(inputs[:8], torch.arange(8) % 5), Batch(inputs[8:], torch.arange(8) % 5))
    seen = ProbeBatch(inputs, torch.arange(16) % 5, config.activation, population)
    before = everything_about(net)
    moment = dataclasses.replace(after_an_update(net), batch=Batch(inputs, torch.arange(16) % 5))
    measured = measure_all(build_diagnostics(list(DIAGNOSTICS)), net, net, seen, moment, {})
    assert measured.keys() == DIAGNOSTICS.keys()
    assert all(measured[name] for name in ("activation_variance", "gradient_norm", "preactivation_gradient_norm"))
    assert_same(before, everything_about(net))


@pytest.mark.parametrize("norm", ["batch", "batch_torch"])
def test_a_batch_norms_next_step_is_the_same_whether_or_not_somebody_looked(norm):
    looked, alone = network("cnn", norm), network("cnn", norm)
    measure_all(build_diagnostics(["saturation"]), looked, looked, probe())
    assert torch.equal(looked(images(3)), alone(images(3)))
    assert all(torch.equal(a, b) for a, b in zip(looked.buffers(), alone.buffers(), strict=True))


@pytest.mark.parametrize("norm", ["batch", "batch_torch"])
def test_a_pass_in_training_mode_moves_no_statistics_that_a_later_pass_reads(norm):
    with looking_at(network("mlp", norm)) as passes:
        before = passes.logits(images(9), training=False)
        passes.logits(images(9) + 3)
        assert torch.equal(passes.logits(images(9), training=False), before)


class Fails(nn.Module):
    """Passes its input on, draws a number, and then fails."""

    def forward(self, _):
        torch.rand(3)
        raise RuntimeError("on the way")


@pytest.mark.parametrize("model", MODELS)
def test_a_forward_pass_that_fails_leaves_no_trace(model):
    net = network(model).eval()
    net.output = Fails()
    net.output.weight = nn.Parameter(torch.ones(1))
    before = everything_about(net)
    with pytest.raises(RuntimeError, match="on the way"):
        measure_all(build_diagnostics(["saturation"]), net, net, probe())
    assert_same(before, everything_about(net))


def test_a_diagnostic_that_draws_moves_no_random_numbers():
    net = nn.Sequential(nn.Dropout(), nn.Linear(3, 3))
    before = torch.get_rng_state()
    with leaving_no_trace(net):
        net(torch.ones(4, 3))
        assert not torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)


class Replaces(nn.Module):
    """Keeps its statistics by putting new tensors in the buffers' place, as somebody's own norm may."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("later", None)
        self.register_buffer("count", torch.tensor(0), persistent=False)

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.later = x.amax(0)
        self.count = self.count + 1
        self.register_buffer("new", torch.ones(1))
        return x


def test_buffers_that_a_layer_replaces_or_adds_are_put_back():
    layer = Replaces()
    mean, count = layer.mean, layer.count
    with leaving_no_trace(layer):
        layer(torch.ones(4, 3))
        assert layer.count == 1
    assert layer.mean is mean
    assert layer.count is count
    assert layer.later is None
    assert dict(layer.named_buffers()).keys() == {"mean", "count"}
    assert not mean.any()
    assert not count.any()


def test_buffers_shared_by_two_layers_stay_shared():
    one, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    other.running_mean = one.running_mean
    both = nn.ModuleList([one, other])
    with leaving_no_trace(both):
        one(torch.arange(12.0).view(4, 3))
    assert other.running_mean is one.running_mean
    assert not one.running_mean.any()


def test_taps_see_what_goes_in_and_out_by_role_and_keep_no_graph():
    first, second = nn.Linear(3, 4), nn.Tanh()
    x = torch.ones(2, 3)
    with tapped({"a": first, "b": second}) as (inputs, outputs):
        y = second(first(x))
    assert list(inputs) == list(outputs) == ["a", "b"]
    assert torch.equal(inputs["a"], x)
    assert torch.equal(inputs["b"], outputs["a"])
    assert torch.equal(outputs["b"], y)
    assert not any(tensor.requires_grad for tensor in [*inputs.values(), *outputs.values()])
    second(first(2 * x))
    assert torch.equal(inputs["a"], x)  # nobody listens any more


def test_looking_works_where_gradients_are_switched_off():
    net = network()
    with torch.no_grad():
        measured = measure_all(build_diagnostics(["gradient_norm"]), net, net, probe())
        assert not torch.is_grad_enabled()
    assert measured["gradient_norm"]["hidden1"] > 0


def test_without_diagnostics_nothing_is_run():
    net = network()
    net.output = Fails()
    assert measure_all([], net, net, probe()) == {}


def test_a_copy_gives_the_same_measurements():
    net = network("cnn")
    names = list(DIAGNOSTICS)
    once = measure_all(build_diagnostics(names), net, net, probe(), after_an_update(net))
    twin = copy.deepcopy(net)
    again = measure_all(build_diagnostics(names), twin, twin, probe(), after_an_update(twin))
    torch.testing.assert_close(once, again, rtol=0, atol=0, equal_nan=True)


def test_unknown_diagnostic_gets_a_cure():
    with pytest.raises(ConfigError, match=r"diagnostics\.names: saturatoin is not known\. Did you mean saturation"):
        build_diagnostics(["saturatoin"])


@folded("name", DIAGNOSTICS)
def test_every_diagnostic_says_its_name_and_unit(name):
    (diagnostic,) = build_diagnostics([name])
    assert diagnostic.name == name
    assert diagnostic.unit


def test_taps_join_the_values_of_a_module_that_runs_several_times():
    module, x, y = nn.Tanh(), torch.randn(2, 3), torch.randn(4, 3)
    with tapped({"a": module}) as (inputs, outputs):
        module(x)
        module(y)
    assert torch.equal(inputs["a"], torch.cat([x, y]))
    assert torch.equal(outputs["a"], torch.cat([x, y]).tanh())


def test_the_gradient_by_a_shift_is_that_by_each_input_of_a_module_that_runs_several_times():
    module, w = nn.Tanh(), torch.randn(3, 3)
    x, shift = torch.randn(2, 3), torch.zeros(4, 3, requires_grad=True)
    with shifted({"a": (module, shift)}):
        module(module(x) @ w).sum().backward()
    first = x.clone().requires_grad_()
    second = first.tanh() @ w
    second.retain_grad()
    second.tanh().sum().backward()
    torch.testing.assert_close(shift.grad, torch.cat([first.grad, second.grad]))


def test_a_module_at_two_sizes_of_an_image_is_seen_and_shifted_at_its_first_call():
    layer, x = nn.Identity(), images()
    with tapped({"layer": layer}) as (inputs, outputs):
        layer(x)
        layer(x[:, :, ::2])
    assert torch.equal(inputs["layer"], x)
    assert torch.equal(outputs["layer"], x)
    with shifted({"layer": (layer, torch.ones_like(x))}):
        assert torch.equal(layer(x), x + 1)
        assert torch.equal(layer(x[:, :, ::2]), x[:, :, ::2])
