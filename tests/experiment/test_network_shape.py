"""The layers of a network: shapes, parameters and floating-point operations, against counts by hand."""

import torch

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.experiment.network_shape import build_and_measure, shape_of
from bnlab.models.catalog import build_network


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
