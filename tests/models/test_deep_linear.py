"""`model=deep_linear`: linear maps, norms, and nothing else."""

import functools

import pytest
import torch
import torch.nn.functional as F
from built_networks import built, images, settings, shaken
from pydantic import ValidationError

from bnlab.errors import ConfigError


def test_without_a_norm_it_is_one_matrix() -> None:
    model, x = built("deep_linear", "none").double(), images(5, 2, 8, 8).double()
    product = functools.reduce(lambda left, right: right @ left, (w.detach() for w in model.weights.values()))
    torch.testing.assert_close(model(x), x.flatten(1) @ product.T, rtol=0, atol=1e-10)


def test_with_batch_norm_it_is_the_formula_written_by_hand() -> None:
    model, x = shaken(built("deep_linear")), images(5, 2, 8, 8).double()
    h = x.flatten(1)
    for block in model.blocks.values():
        z = h @ block.linear.weight.T
        h = F.batch_norm(z, None, None, block.norm.weight, block.norm.bias, training=True)
    torch.testing.assert_close(model(x), model.output(h), rtol=0, atol=1e-10)


def test_its_activations_pass_on_what_the_norms_give() -> None:
    model = built("deep_linear")
    assert list(model.activations) == ["linear1", "linear2", "linear3"]
    h = images(5, 12)
    assert all(activation(h) is h for activation in model.activations.values())
    assert not model.replaced_activations


def test_weights_keep_the_variance_of_a_layer_at_the_start() -> None:
    weight = built("deep_linear", width=400).weights["linear2"]
    assert weight.std().item() * 20 == pytest.approx(1.0, rel=0.02)


def test_a_norm_after_activations_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"placement=after needs activations, and model=deep_linear has none"):
        built("deep_linear", "batch", "after")


def test_an_activation_is_refused() -> None:
    with pytest.raises(ValidationError, match="Input should be 'none'"):
        settings("deep_linear", activation="relu")
