"""Recurrent networks: torch's layers and the papers' formulas written as loops are their oracles, in float64."""

import functools

import pytest
import torch
import torch.nn.functional as F
from composed import compose_parts
from torch import nn

from bnlab.errors import ConfigError
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.sequences import Sequences, lengths_of
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS

NEED_IMAGES = {"frn", "instance", "instance_torch", "switchable"}
OF_ROWS = sorted(set(NORMS) - NEED_IMAGES)
T, F_, H = 5, 6, 8
"""Time steps, features of a step, hidden units."""


@pytest.fixture(autouse=True)
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def build(model="lstm", *words, norm="none", shape=(1, T, F_), placement="before", seed=0, **options):
    config = compose_parts([f"model={model}", f"model.width={H}", "data.padding_value=0", *words]).model
    net = build_model(config, shape, 10, functools.partial(build_norm, norm, **options), placement)
    seed_weights(net, config, seed)
    return net


def randomized(net):
    """Give biases, scales and shifts random values, so that each of them counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


# --- formulas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
def test_an_lstm_without_norms_is_torchs(depth):
    net, x = randomized(build("lstm", f"model.depth={depth}")), images(4, 1, T, F_)
    theirs = nn.LSTM(F_, H, depth, batch_first=True)
    with torch.no_grad():
        for k, layer in enumerate(net.layers):
            getattr(theirs, f"weight_ih_l{k}").copy_(layer.input.weight)
            getattr(theirs, f"weight_hh_l{k}").copy_(layer.state.weight)
            getattr(theirs, f"bias_ih_l{k}").copy_(layer.bias)
            getattr(theirs, f"bias_hh_l{k}").zero_()
    close(net.features(x), theirs(x[:, 0])[0][:, -1])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_plain_net_without_norms_is_torchs(activation):
    net, x = randomized(build("rnn", f"model.activation={activation}", "model.depth=2")), images(4, 1, T, F_)
    theirs = nn.RNN(F_, H, 2, activation, batch_first=True)
    with torch.no_grad():
        for k, layer in enumerate(net.layers):
            getattr(theirs, f"weight_ih_l{k}").copy_(layer.input.weight)
            getattr(theirs, f"weight_hh_l{k}").copy_(layer.state.weight)
            getattr(theirs, f"bias_ih_l{k}").copy_(layer.input.bias)
            getattr(theirs, f"bias_hh_l{k}").zero_()
    close(net.features(x), theirs(x[:, 0])[0][:, -1])


def lstm_by_hand(layer, x_NTF, of_input, of_state, of_memory):
    """Return the last output by the equations of Ba et al. and of Cooijmans et al.; each norm takes values and step."""
    h = c = x_NTF.new_zeros(len(x_NTF), H)
    for t in range(x_NTF.shape[1]):
        gates = of_input(x_NTF[:, t] @ layer.input.weight.T, t) + of_state(h @ layer.state.weight.T, t) + layer.bias
        i, f, g, o = gates.split(H, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(of_memory(c, t))
    return h


def test_layer_norm_stands_in_an_lstm_as_ba_and_others_put_it():
    net, x = randomized(build(norm="layer")), images(4, 1, T, F_)
    layer = net.layers[0]

    def norm(of):
        return lambda z, _: F.layer_norm(z, z.shape[1:], of.weight, of.bias)

    expected = lstm_by_hand(layer, x[:, 0], norm(layer.input_norm), norm(layer.state_norm), norm(layer.cell_norm))
    close(net.features(x), expected)


def torch_norms(norms):
    """Return torch's BatchNorm with the state of each of some norms; momentum 0.9 here is torch's 0.1."""
    theirs = [nn.BatchNorm1d(one.num_channels, momentum=0.1) for one in norms]
    for mine, their in zip(norms, theirs, strict=True):
        their.load_state_dict(mine.state_dict())
    return theirs


def test_batch_norm_of_each_step_is_torchs_in_training_and_in_eval_mode():
    net, x = randomized(build(norm="batch", unbiased_running_var=True)), images(7, 1, T, F_)
    layer = net.layers[0]
    places = [layer.input_norm, layer.state_norm, layer.cell_norm]
    theirs = [torch_norms(list(place.values())) for place in places]

    def norm(of):
        return lambda z, t: of[t](z)

    close(net.features(x), lstm_by_hand(layer, x[:, 0], *map(norm, theirs)))
    for place, of in zip(places, theirs, strict=True):
        for mine, their in zip(place.values(), of, strict=True):
            close(mine.running_mean, their.running_mean)
            close(mine.running_var, their.running_var)
            their.eval()
    close(net.eval().features(x), lstm_by_hand(layer, x[:, 0], *map(norm, theirs)))


def test_batch_norm_of_all_steps_gives_each_step_equal_weight_and_a_pass_the_momentum():
    net, x = randomized(build("lstm", "model.norm_per_step=false", norm="batch")), images(7, 1, T, F_)
    layer, batches = net.layers[0], []
    layer.input_norm.register_forward_pre_hook(lambda _, args: batches.append(args[0].detach()))
    net.features(x)
    kept = 0.9 ** (1 / T)
    expected = sum((1 - kept) * kept ** (T - 1 - t) * batch.mean(0) for t, batch in enumerate(batches))
    close(layer.input_norm.running_mean, expected)
    close(layer.cell_norm.running_var.sub(0.9) > 0, torch.ones(H, dtype=torch.bool))  # 0.9 of the initial 1 is left


@pytest.mark.parametrize("per_step", ["true", "false"])
def test_torchs_batch_norm_keeps_the_running_statistics_that_ours_keeps(per_step):
    x, nets = images(7, 1, T, F_), []
    for norm, options in (("batch", {"unbiased_running_var": True}), ("batch_torch", {})):
        net = build("lstm", f"model.norm_per_step={per_step}", norm=norm, **options)
        net(x)
        nets.append(net)
    for (name, mine), (other, theirs) in zip(*(net.named_buffers() for net in nets), strict=True):
        assert name == other
        close(mine, theirs)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_a_plain_net_normalizes_its_summed_input_or_its_output(placement):
    net, x = randomized(build("rnn", norm="layer", placement=placement)), images(4, 1, T, F_)
    layer = net.layers[0]

    def norm(z):
        return F.layer_norm(z, (H,), layer.norm.weight, layer.norm.bias)

    h = x.new_zeros(4, H)
    for t in range(T):
        summed = F.linear(x[:, 0, t], layer.input.weight, layer.input.bias) + h @ layer.state.weight.T
        h = norm(summed).tanh() if placement == "before" else norm(summed.tanh())
    close(net.features(x), h)
    assert (layer.input.bias is None) == (placement == "before")


# --- what every network must have -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_layers_are_named_by_role_in_every_arm(norm):
    net = build("lstm", "model.depth=2", norm=norm)
    assert list(net.linears) == ["hidden1.input", "hidden1.state", "hidden2.input", "hidden2.state", "output"]
    assert list(net.activations) == [f"hidden{k}.{name}" for k in (1, 2) for name in ("candidate", "cell")]
    places = ("input_norm", "state_norm", "cell_norm")
    assert list(net.norms) == [f"hidden{k}.{name}" for k in (1, 2) for name in places]
    plain = build("rnn", norm=norm)
    assert list(plain.linears) == ["hidden1.input", "hidden1.state", "output"]
    assert list(plain.norms) == ["hidden1.norm"]
    assert list(plain.activations) == ["hidden1.activation"]


def test_norms_of_steps_have_running_statistics_of_their_own_and_share_scale_and_shift():
    net = build(norm="batch")
    assert [role for role in net.norms if "cell" in role] == [f"hidden1.cell_norm.step{t}" for t in range(1, T + 1)]
    norms = list(net.layers[0].cell_norm.values())
    assert len({id(one.weight) for one in norms}) == len({id(one.bias) for one in norms}) == 1
    assert len({id(one.running_mean) for one in norms}) == T
    assert len(list(net.parameters())) == len(
        list(build("lstm", "model.norm_per_step=false", norm="batch").parameters())
    )


def test_the_forget_gates_are_open_at_the_start():
    layer = build(norm="layer").layers[0]
    assert torch.equal(layer.bias.view(4, H), torch.tensor([0.0, 1, 0, 0]).unsqueeze(1).expand(4, H))


def test_initial_scales_are_those_that_the_config_names():
    for per_step in ("true", "false"):
        net = build("lstm", "model.norm_scale=0.1", f"model.norm_per_step={per_step}", norm="batch")
        assert {float(value) for norm in net.norms.values() for value in norm.weight.detach()} == {0.1}
    assert build("lstm", "model.norm_scale=0.1", norm="none")(images(2, 1, T, F_)).isfinite().all()


PLACES = [("lstm", "before"), ("lstm", "input"), ("rnn", "before"), ("rnn", "after"), ("rnn", "input")]
OF_EACH_KIND = ["batch", "layer", "none", "scaled_weight_standardization"]
"""Norms that a cell builds in different ways: one for each step, one for all, none, with the weights changed. They
stand in every place; all others in one place, in turn."""


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(
    ("model", "placement", "norm"),
    [
        *((*place, norm) for place in PLACES for norm in OF_EACH_KIND),
        *((*PLACES[number % 5], norm) for number, norm in enumerate(OF_ROWS) if norm not in OF_EACH_KIND),
    ],
)
def test_every_norm_of_rows_trains_a_step_in_every_place(model, placement, norm):
    net, x, labels = build(model, norm=norm, placement=placement, shape=(1, T, 8)), images(6, 1, T, 8), torch.arange(6)
    start = {name: buffer.clone() for name, buffer in net.named_buffers()}

    def loss():
        torch.manual_seed(0)  # a norm that draws noise draws the same twice
        buffers = {name: buffer.clone() for name, buffer in start.items()}
        return F.cross_entropy(torch.func.functional_call(net, buffers, (x,)), labels)

    before = loss()
    before.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    torch.optim.SGD(net.parameters(), lr=1e-5).step()
    assert loss() < before


@pytest.mark.parametrize(
    ("words", "shape", "placement", "law"),
    [
        ([], (1, T, F_), "after", r"placement=after cannot be\. Use placement=before, or model=rnn"),
        ([], (30,), "before", r"needs images, got rows of 30 numbers\. Use model\.sequence=pixels"),
    ],
)
def test_what_it_cannot_take_is_said_with_a_cure(words, shape, placement, law):
    with pytest.raises(ConfigError, match=law):
        build("lstm", *words, shape=shape, placement=placement)


@pytest.mark.parametrize(
    ("norm", "options", "free"),
    [
        ("batch", {}, {"hidden1.input": "rows", "hidden1.state": "rows"}),
        ("layer", {}, {"hidden1.input": "whole", "hidden1.state": "whole"}),
        ("weight_standardization", {}, {"hidden1.input": "rows", "hidden1.state": "rows"}),
        ("none", {}, {}),
    ],
)
def test_weights_whose_scale_is_free_can_be_scaled(norm, options, free):
    net, x = build(norm=norm, eps=1e-12, **options) if norm != "none" else build(), images(6, 1, T, F_)
    assert net.scale_invariant_weights == free
    before = net(x)
    with torch.no_grad():
        for role in free:
            net.weights[role].mul_(3)
    close(net(x), before)


def test_a_network_under_vmap_is_the_separate_networks():
    for model, norm, words in (("lstm", "batch", []), ("rnn", "layer", ["model.permute=true"])):
        nets = [build(model, *words, norm=norm, seed=seed) for seed in range(2)]
        parameters, buffers = torch.func.stack_module_state(nets)
        x = images(2, 6, 1, T, F_)

        def call(parameters, buffers, x, template=nets[0]):
            return torch.func.functional_call(template, (parameters, buffers), (x,))

        together = torch.func.vmap(call)(parameters, {name: value.clone() for name, value in buffers.items()}, x)
        for i, net in enumerate(nets):
            close(together[i], net(x[i]))


# --- sequences ------------------------------------------------------------------------------------------------------


def test_rows_and_pixels_of_an_image_are_steps():
    x = images(2, 3, 4, 5)
    rows, pixels = Sequences("rows", (3, 4, 5), "lstm"), Sequences("pixels", (3, 4, 5), "lstm")
    assert (rows.num_steps, rows.num_features, pixels.num_steps, pixels.num_features) == (4, 15, 20, 3)
    for n, t in ((0, 0), (1, 3)):
        assert torch.equal(rows(x)[n, t], x[n, :, t].flatten())
        assert torch.equal(pixels(x)[n, 5 * t + 2], x[n, :, t, 2])
    numbers = images(2, 7)
    assert torch.equal(Sequences("pixels", (7,), "lstm")(numbers), numbers.unsqueeze(2))


def test_permuted_pixels_have_one_order_for_all_images_and_another_one_for_another_seed():
    x = torch.arange(24.0).view(1, 1, 4, 6).expand(3, 1, 4, 6)
    first, again, other = (Sequences("pixels", (1, 4, 6), "rnn", seed)(x)[:, :, 0] for seed in (0, 0, 1))
    assert torch.equal(first[0].sort().values, x[0].flatten())
    assert torch.equal(first, first[:1].expand(3, 24))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], x[0].flatten())


# --- padding --------------------------------------------------------------------------------------------------------


def padded(lengths, num_steps, seed=0):
    """Return sequences of these lengths, with zeros behind."""
    x = images(len(lengths), 1, num_steps, F_, seed=seed)
    for one, length in zip(x, lengths, strict=True):
        one[:, length:] = 0
    return x


def test_the_length_of_a_sequence_ends_with_its_last_step_that_is_not_zero():
    assert lengths_of(padded([3, 5, 1], T)[:, 0]).tolist() == [3, 5, 1]
    inside = padded([5], T)
    inside[:, :, 2] = 0
    assert lengths_of(inside[:, 0]).tolist() == [5]
    assert lengths_of(torch.zeros(1, T, F_)).tolist() == [1]


@pytest.mark.parametrize("model", ["rnn", "lstm"])
@pytest.mark.parametrize(
    ("norm", "per_step"), [("batch", "true"), ("batch", "false"), ("layer", "true"), ("group", "true")]
)
@pytest.mark.parametrize("placement", ["before", "input"])
def test_more_padding_changes_neither_outputs_nor_gradients_nor_statistics(model, norm, per_step, placement):
    """Without the mask it changes all three: see the next test."""
    words, lengths = [f"model.norm_per_step={per_step}", "model.skip_padding=true", "model.depth=2"], [3, 5, 4, 5, 2, 3]
    options = {} if norm != "batch" else {"momentum": None}  # a share of each step would depend on their number
    group = {"num_groups": 2} if norm == "group" else {}
    results = []
    for num_steps in (5, 9):
        net = build(model, *words, norm=norm, placement=placement, shape=(1, num_steps, F_), **options, **group)
        outputs = net(padded(lengths, 9)[:, :, :num_steps])
        F.cross_entropy(outputs, torch.arange(6)).backward()
        gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
        statistics = {name: b for name, b in net.named_buffers() if not any(f"step{t}." in name for t in range(6, 10))}
        results.append((outputs, gradients, statistics, net.eval()(padded([4], 9)[:, :, :num_steps])))
    for short, long in zip(*results, strict=True):
        torch.testing.assert_close(short, long, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_without_the_mask_padding_changes_the_output(norm):
    outputs = []
    for num_steps in (5, 9):
        net = build("lstm", norm=norm, shape=(1, num_steps, F_))
        outputs.append(net(padded([3, 5, 4, 5], 9)[:, :, :num_steps]))
    assert (outputs[0] - outputs[1]).abs().max() > 0.01


def test_each_padded_sequence_is_what_it_is_alone_without_padding():
    lengths = [3, 5, 1, 4]
    x = padded(lengths, T)
    together = build("lstm", "model.skip_padding=true", norm="layer")(x)
    for one, length, expected in zip(x, lengths, together, strict=True):
        alone = build("lstm", norm="layer", shape=(1, length, F_))
        close(alone(one[None, :, :length])[0], expected)


def test_the_last_sequence_that_runs_uses_running_statistics_and_leaves_them_alone():
    net = build("lstm", "model.skip_padding=true", norm="batch")
    net(padded([2, 5, 2], T))
    norms = net.layers[0].cell_norm
    assert torch.equal(norms["step4"].running_mean, torch.zeros(H))
    assert norms["step2"].num_batches_tracked == 1
    assert norms["step3"].num_batches_tracked == 0
    assert norms["step3"].training


def test_padding_and_permuted_pixels_do_not_go_together():
    with pytest.raises(ValueError, match=r"model\.skip_padding needs padding at the end"):
        compose_parts(["model=lstm", "model.permute=true", "model.skip_padding=true", "data.padding_value=0"])


def test_padding_that_is_skipped_must_be_known():
    with pytest.raises(
        ValueError, match=r"model\.skip_padding=true needs data\.padding_value, .* data\.padding_value=0"
    ):
        compose_parts(["model=lstm", "model.skip_padding=true"])


def test_a_batch_of_one_sequence_is_refused_as_in_other_networks():
    net = build("lstm", "model.skip_padding=true", norm="batch")
    with pytest.raises(ConfigError, match="more than one value per channel"):
        net(padded([3], T))


def test_shapes_can_be_tried_without_values():
    with torch.device("meta"):
        config = compose_parts(["model=lstm", "model.skip_padding=true", "data.padding_value=0"]).model
        net = build_model(config, (1, T, F_), 10, functools.partial(build_norm, "batch"), "before")
        assert net(torch.zeros(4, 1, T, F_)).shape == (4, 10)
