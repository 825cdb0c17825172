"""Muon, against torch's own in a plain loop and against singular values computed apart."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.checking import check
from bnlab.models.catalog import build_network
from bnlab.models.network import Network
from bnlab.schema import MuonConfig
from bnlab.training.muon import Muon, MuonAndAdamW, matrices_decayed_and_undecayed, orthogonal


def muon(*words: str) -> MuonConfig:
    config = compose_run(["optim=muon", "model.depth=3", *words]).optim
    assert isinstance(config, MuonConfig)
    return config


def network(*words: str) -> Network:
    return build_network(compose_run(["model.width=6", "model.depth=3", *words]), (1, 4, 4), 5)


def names(*words: str) -> tuple[list[str], list[str], list[str]]:
    optim = [word for word in words if word.startswith("optim.")]
    model = network(*(word for word in words if word not in optim))
    return matrices_decayed_and_undecayed(model, model.norms, model.weights, muon(*optim))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 3), (3, 6, 4)])
def test_each_singular_value_goes_through_the_polynomial(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, values, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    values = values / np.sqrt((values**2).sum(-1, keepdims=True))
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    np.testing.assert_allclose(orthogonal(matrix, 5).numpy(), u * values[..., None, :] @ vt, rtol=0, atol=1e-12)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4), 5), torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
def test_it_is_torchs_muon_up_to_the_rounding_of_bfloat16(
    shape: tuple[int, int], nesterov: bool, adjust_lr: str
) -> None:
    """bfloat16 keeps 8 bits, and a Newton-Schulz step magnifies an error in a small singular value up to 3.4 times."""
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(shape, generator=generator), torch.randn(6, *shape, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    config = muon(f"optim.nesterov={nesterov}".lower(), f"optim.adjust_lr={adjust_lr}", "optim.weight_decay=0.1")
    reference = torch.optim.Muon(
        [theirs], lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=nesterov, ns_steps=5, adjust_lr_fn=adjust_lr
    )
    optimizer = Muon([ours], config)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved
    assert moved > 0.1


def test_kernels_are_matrices_with_a_row_for_each_output_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel, gradient = torch.randn(2, 4, 3, 3, 3, generator=generator)
    layouts = [torch.contiguous_format, torch.channels_last]
    trained = [nn.Parameter(kernel.clone().to(memory_format=layout)) for layout in layouts]
    matrix = nn.Parameter(kernel.flatten(1).clone())
    for parameter in (*trained, matrix):
        parameter.grad = gradient.reshape(parameter.shape)
        Muon([parameter], muon()).step()
    for parameter in trained:
        torch.testing.assert_close(parameter.flatten(1), matrix)


@pytest.mark.slow
def test_it_trains_the_layers_between_the_first_and_the_output() -> None:
    matrices, decayed, undecayed = names("norm=batch")
    assert matrices == ["hidden2.linear.weight", "hidden3.linear.weight"]
    assert decayed == ["hidden1.linear.weight", "output.weight"]
    assert {"hidden1.norm.weight", "hidden3.norm.bias", "output.bias"} <= set(undecayed)
    assert names("optim.first_layer=true")[0] == ["hidden1.linear.weight", *matrices]


@pytest.mark.slow
def test_it_trains_kernels_and_parametrized_weights() -> None:
    assert names("model=cnn", "model.num_stages=3")[0] == ["stage2.conv1.linear.weight", "stage3.conv1.linear.weight"]
    words = ["norm=scaled_weight_standardization", "placement=before"]
    assert [name.rpartition(".")[2] for name in names(*words)[0]] == ["original", "original"]


def test_decay_of_norms_and_biases_is_a_choice() -> None:
    assert names("norm=batch", "optim.decay_norm_and_bias=true")[2] == []
    assert names("norm=batch")[0] == names("norm=batch", "optim.decay_norm_and_bias=true")[0]


def test_the_rest_is_trained_by_torchs_adamw_at_its_share_of_the_rate() -> None:
    model, config = network("norm=batch"), muon("optim.weight_decay=0.3")
    optimizer = MuonAndAdamW(model, model.norms, model.weights, config)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    for group in optimizer.param_groups:
        group["lr"] = 0.02 * group.get("lr_share", 1.0)
    optimizer.step()
    for name, decay in {"output.weight": 0.3, "output.bias": 0.0, "hidden1.norm.weight": 0.0}.items():
        copy = nn.Parameter(before[name])
        copy.grad = torch.ones_like(copy)
        torch.optim.AdamW([copy], lr=0.02 * 0.015, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay).step()
        torch.testing.assert_close(model.get_parameter(name), copy, rtol=0, atol=1e-7)


def test_a_network_without_hidden_matrices_is_refused_before_any_folder_is_made() -> None:
    config = compose_run(["optim=muon", "model.depth=1", "data=digits"])
    with pytest.raises(ConfigError, match=r"has only hidden1, output\. Try optim\.first_layer=true"):
        check(config)
