"""The largest eigenvalue of the Hessian, held against the whole Hessian of small networks in float64."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, hessian
from watched import images, in_float64, network

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.curvature import largest_eigenvalue
from bnlab.diagnostics.diagnostic import ProbeBatch
from bnlab.diagnostics.measuring import looking_at, measure_all
from bnlab.diagnostics.passes import FunctionalCalculus, PlainCalculus
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS as NORMS_OF_ALL
from bnlab.schema_models import CNNConfig, MLPConfig

NORMS = ["batch", "batch_torch", "layer", "none", "rms", "ghost", "l1_batch", "group"]
NEED_SPACE = {"frn", "instance", "instance_torch", "switchable"}


def small(model, norm, activation="tanh"):
    shared = {"activation": activation, "dropout": 0.0, "init": "auto", "init_std": None}
    if model == "mlp":
        config, shape = MLPConfig(name="mlp", depth=2, width=6, **shared), (5,)
    else:
        config, shape = CNNConfig(name="cnn", depth=1, width=4, num_stages=1, **shared), (1, 6, 6)
    options = {"num_groups": 2} if norm == "group" else {}
    net = build_model(config, shape, 3, lambda channels: build_norm(norm, channels, **options), "before")
    seed_weights(net, config, 0)
    inputs = torch.randn((24, *shape), generator=torch.Generator().manual_seed(0))
    return net.double(), ProbeBatch(inputs.double(), torch.arange(24) % 3, activation)


def dense(net, batch, names, scale):
    """Return the largest eigenvalue of D H D, all of H spelled out."""
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    sizes = [parameters[name].numel() for name in names]

    def loss(flat):
        parts = {n: p.view(parameters[n].shape) for n, p in zip(names, flat.split(sizes), strict=True)}
        moving = {name: value.clone() for name, value in buffers.items()}
        return F.cross_entropy(
            functional_call(net.train(), ({**parameters, **parts}, moving), (batch.inputs,)), batch.labels
        )

    matrix = hessian(loss)(torch.cat([parameters[name].flatten() for name in names]))
    d = torch.cat([scale(parameters[name]).flatten() for name in names])
    return torch.linalg.eigvalsh(d[:, None] * matrix * d[None, :])[-1].item()


def rows(weight):
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape)


def found_in(net, batch):
    with in_float64():
        values = measure_all(build_diagnostics(["sharpness", "sharpness_invariant"]), net, net, batch)
    return values["sharpness"]["network"].item(), values["sharpness_invariant"]["network"].item()


@pytest.mark.slow_but(4)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", NORMS)
def test_both_are_those_of_the_whole_hessian(model, norm):
    net, batch = small(model, norm)
    names = [name for name, _ in net.named_parameters()]
    matrices = [name for name, value in net.named_parameters() if value.dim() > 1]
    sharpness, invariant = found_in(net, batch)
    assert sharpness == pytest.approx(dense(net, batch, names, torch.ones_like), rel=0.01)
    assert invariant == pytest.approx(dense(net, batch, matrices, rows), rel=0.01)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize(
    ("norm", "by_row"), [("batch", True), ("batch_torch", True), ("layer", False), ("group", False), ("rms", False)]
)
def test_scaling_weights_before_a_norm_changes_the_one_and_not_the_other(model, norm, by_row):
    """Each row by a factor of its own where a norm looks at channels; all alike where it looks at samples."""
    net, batch = small(model, norm)
    for block in net.blocks.values():
        block.norm.eps = 1e-14
        if not by_row and block.linear.bias is not None:
            torch.nn.init.zeros_(block.linear.bias)
    sharpness, invariant = found_in(net, batch)
    with torch.no_grad():
        for block in net.blocks.values():
            size = len(block.linear.weight)
            factor = torch.linspace(0.1, 3, size) if by_row else torch.full((size,), 0.3)
            block.linear.weight.mul_(factor.double().view(-1, *[1] * (block.linear.weight.dim() - 1)))
    scaled, still = found_in(net, batch)
    assert still == pytest.approx(invariant, rel=1e-6)
    assert abs(scaled / sharpness - 1) > 0.1


def far_from_zero(net, inputs):
    """Move running averages, so that norms which correct by them have something to correct."""
    for factor in (1.0, 3.0):
        net.train()(factor * inputs)


PLACED = [  # a norm stands before the activation in one model, and after it in the other
    pytest.param(m, n, p, marks=[pytest.mark.slow] * (m == "cnn" and n not in {"batch", *NEED_SPACE}))
    for m in ("mlp", "cnn")
    for number, n in enumerate(sorted(NORMS_OF_ALL))
    for p in ("before", "after")
    if (n in NEED_SPACE and m == "cnn")
    or (n not in NEED_SPACE and (p == "before") == ((m == "mlp") == (number % 2 == 0)))
]


@pytest.mark.slow_but(6)
@pytest.mark.parametrize(("model", "norm", "placement"), PLACED)
def test_the_second_derivative_is_that_of_the_gradient_in_every_norm_and_calculus(model, norm, placement):
    """By central differences; once and again, for one graph serves many products. A small step: l1_batch has kinks."""
    with in_float64():
        options = {"num_groups": 2} if norm in {"group", "group_torch", "weight_standardization"} else {}
        net = network(model, norm=norm, placement=placement, **options)
        inputs, labels = images(20, 3).double(), torch.arange(20) % 5
        far_from_zero(net, inputs)
        generator = torch.Generator().manual_seed(0)
        with looking_at(net) as passes, torch.no_grad():
            names = list(passes.parameters)
            products = {}
            for calculus in (PlainCalculus(), FunctionalCalculus()):
                products[calculus] = dataclasses.replace(passes, calculus=calculus).hessian(names, inputs, labels)
            for _ in range(2):
                vector = {n: torch.randn(p.shape, generator=generator) for n, p in passes.parameters.items()}
                ahead, behind = (
                    passes.gradient(inputs, labels, {n: p + h * vector[n] for n, p in passes.parameters.items()})[0]
                    for h in (1e-6, -1e-6)
                )
                expected = torch.cat([((ahead[n] - behind[n]) / 2e-6).flatten() for n in names])
                for times in products.values():
                    found = torch.cat([times(vector)[n].flatten() for n in names])
                    assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("size", [1, 2, 5, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_lanczos_finds_the_largest_eigenvalue_of_a_matrix(size, sign):
    generator = torch.Generator().manual_seed(size)
    matrix = torch.randn((size, size), generator=generator, dtype=torch.float64)
    matrix = sign * matrix @ matrix.T
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    found = largest_eigenvalue(lambda v: matrix @ v, start / start.norm(), 40).item()
    assert found == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_space_that_is_exhausted_early_breaks_nothing(rank):
    diagonal = torch.zeros(10)
    diagonal[:rank] = torch.tensor([4.0, -9.0])[:rank]
    found = largest_eigenvalue(lambda v: diagonal * v, torch.ones(10) / 10**0.5, 8).item()
    assert found == pytest.approx(4.0 if rank else 0.0, abs=1e-4)


def test_what_is_not_finite_shows_and_does_not_raise():
    assert largest_eigenvalue(lambda v: v * float("nan"), torch.ones(4) / 2, 3).isnan()
    net, batch = small("mlp", "none")
    with torch.no_grad():
        net.output.weight[0, 0] = float("inf")
    assert all(value != value for value in found_in(net, batch))


def test_the_start_is_the_same_each_time():
    net, batch = small("mlp", "batch")
    assert found_in(net, batch) == found_in(net, batch)


@pytest.mark.parametrize(("shape", "size"), [((5,), 256), ((1, 28, 28), 256), ((3, 32, 32), 85), ((3, 224, 224), 32)])
def test_the_larger_images_are_the_fewer_are_looked_at(shape, size):
    few = ProbeBatch(torch.zeros(1, *shape).expand(300, *shape), torch.arange(300), "relu").few
    assert few.inputs.shape == (size, *shape)
    assert few.labels.tolist() == list(range(size))


def test_no_more_than_the_first_256_images_are_looked_at():
    net, _ = small("mlp", "batch")
    inputs = torch.randn((300, 5), generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(300) % 3
    first = ProbeBatch(inputs[:256], labels[:256], "tanh")
    assert found_in(net, ProbeBatch(inputs, labels, "tanh")) == found_in(net, first)
    assert found_in(net, ProbeBatch(inputs[44:], labels[44:], "tanh")) != found_in(net, first)
