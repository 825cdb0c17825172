"""The layers of a network: shapes, parameters and floating-point operations, against counts by hand."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.experiment.network_shape import build_and_measure, shape_of
from bnlab.models.catalog import build_network
from bnlab.models.network import Network


def test_a_perceptron_has_the_sizes_that_a_hand_counts():
    shape = build_and_measure(compose_run(["data=digits", "model.depth=2", "model.width=5", "norm=batch"]))
    assert [(layer.role, layer.kind, layer.output) for layer in shape.layers] == [
        *[("hidden1", "Linear", (5,)), ("hidden1", "BatchNorm", (5,)), ("hidden1", "ReLU", (5,))],
        *[("hidden2", "Linear", (5,)), ("hidden2", "BatchNorm", (5,)), ("hidden2", "ReLU", (5,))],
        ("output", "Linear", (10,)),
    ]
    assert [layer.num_parameters for layer in shape.layers] == [64 * 5, 10, 0, 25, 10, 0, 60]
    assert shape.flop == 2 * (64 * 5 + 5 * 5 + 5 * 10) == sum(layer.flop for layer in shape.layers)
    assert (shape.num_parameters, shape.num_norms) == (64 * 5 + 25 + 60 + 20, 2)


def test_a_convolution_counts_each_position():
    shape = build_and_measure(
        compose_run(["data=digits", "model=cnn", "model.depth=2", "model.num_stages=2", "model.width=3", "norm=none"])
    )
    assert [layer.output for layer in shape.layers if layer.kind == "Conv2d"] == [(3, 8, 8), (6, 4, 4)]
    assert shape.flop == 2 * (64 * 3 * 9 + 16 * 6 * 3 * 9 + 6 * 10) == sum(layer.flop for layer in shape.layers)
    assert shape.num_norms == 0


def test_attention_counts_too_and_the_network_is_left_as_it_was():
    config = compose_run(["data=digits", "model=own_networks:Tokens", "norm=batch"])
    data = open_data(config.data)
    network = build_network(config, data.input_shape, data.num_classes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shape = shape_of(network, data.input_shape)
    assert shape.flop > sum(layer.flop for layer in shape.layers)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training


@pytest.mark.parametrize(
    "words", [["model=vit"], ["model=rnn"], ["model=lstm", "model.skip_padding=true", "data.padding_value=0"]]
)
def test_a_layer_counts_all_tokens_and_time_steps(words):
    shape = build_and_measure(compose_run(["data=digits", *words, "norm=layer"]))
    of_attention = 0
    if words == ["model=vit"]:
        tokens, width, depth = 4, 64, 4
        of_attention = depth * 2 * 2 * tokens * tokens * width
    assert sum(layer.flop for layer in shape.layers) == shape.flop - of_attention


def test_norms_of_time_steps_are_one_norm_whose_parameters_count_once():
    shape = build_and_measure(compose_run(["data=digits", "model=rnn", "model.width=6", "norm=batch"]))
    assert shape.num_norms == 1
    assert [layer.num_parameters for layer in shape.layers if layer.kind == "BatchNorm"] == [12, *[0] * 7]
    assert sum(layer.num_parameters for layer in shape.layers) <= shape.num_parameters


def test_a_convolution_that_enlarges_the_image_counts_the_positions_of_its_input():
    upwards = nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False)
    body = OrderedDict(up=upwards, flat=nn.Flatten())
    shape = shape_of(Network(body, nn.Linear(3 * 64, 5), None), (2, 4, 4))
    assert shape.flop == 2 * (16 * 2 * 3 * 4 + 3 * 64 * 5) == sum(layer.flop for layer in shape.layers)
