"""What holds for each network that came after the perceptron and the convolutional net, with every norm."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from built_networks import built, images
from folded import folded

from bnlab.models.catalog import MODELS
from bnlab.norms.names import NORMS

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vgg": ("vgg", {}),
    "fast_cnn": ("fast_cnn", {}),
    "resnet post": ("resnet", {}),
    "resnet post, projections": ("resnet", {"shortcut": "projection", "residual": "skipinit"}),
    "resnet pre": ("resnet", {"block": "pre"}),
    "resnet pre, projections": ("resnet", {"block": "pre", "shortcut": "projection"}),
    "residual_mlp pre": ("residual_mlp", {}),
    "residual_mlp post": ("residual_mlp", {"order": "post"}),
    "residual_mlp peri": ("residual_mlp", {"order": "peri", "depth_scale": "sqrt"}),
    "deep_linear": ("deep_linear", {}),
}
NEED_SPACE = {"frn", "instance", "instance_torch"}
OF_IMAGES = [variant for variant, (name, _) in VARIANTS.items() if name in {"vgg", "fast_cnn", "resnet"}]
OF_ROWS = [variant for variant in VARIANTS if variant not in OF_IMAGES]
OF_EACH_KIND = ("batch", "layer", "none", "frn", "weight_standardization", "scaled_weight_standardization")
"""Norms that a network builds in different ways: with running statistics, without, none at all, in the place of the
activation, and with the weights changed. They stand in every network; all others in one of images, in one of rows,
and as the norm of the input, in turn."""

EVERYWHERE = [
    (variant, norm, "before")
    for variant, norm in itertools.product(VARIANTS, OF_EACH_KIND)
    if variant in OF_IMAGES or norm not in NEED_SPACE
]
IN_TURN = [
    (variant, norm, placement)
    for number, norm in enumerate(NORMS)
    for variant, placement in (
        (OF_IMAGES[number % len(OF_IMAGES)], "before"),
        (OF_ROWS[number % len(OF_ROWS)], "before"),
        ([*OF_IMAGES, *OF_ROWS][number % len(VARIANTS)], "input"),
    )
    if variant in OF_IMAGES or norm not in NEED_SPACE
]
CASES = list(dict.fromkeys([*EVERYWHERE, *IN_TURN]))

ELSEWHERE = {"mlp", "cnn", "rnn", "lstm", "vit"}
"""Networks that have all of this in files of their own."""


def of(variant: str, norm: str = "batch", placement: str = "before", **more: Any) -> Any:
    name, changes = VARIANTS[variant]
    return built(name, norm, placement, shape=shape_for(variant), **{**changes, **more})


def shape_for(variant: str) -> tuple[int, ...]:
    return {"vgg": (2, 32, 32), "fast_cnn": (2, 24, 24)}.get(variant, (2, 8, 8))


@pytest.mark.slow_but(12)
@pytest.mark.parametrize(("variant", "norm", "placement"), CASES)
def test_every_norm_trains_a_step(variant: str, norm: str, placement: str) -> None:
    model, x = of(variant, norm, placement).double(), images(8, *shape_for(variant)).double()
    labels = torch.arange(8)
    torch.manual_seed(0)  # a norm that draws noise draws the same twice
    before = F.cross_entropy(model(x), labels)
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    length = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    torch.optim.SGD(model.parameters(), lr=1e-6 / float(length)).step()
    torch.manual_seed(0)
    assert F.cross_entropy(model(x), labels) < before


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_have_the_same_roles_and_weights_in_every_arm(variant: str) -> None:
    reference = of(variant)
    for norm in ("none", "layer", "scaled_weight_standardization"):
        model = of(variant, norm)
        assert list(model.activations) == list(reference.activations)
        assert list(model.norms) == list(reference.norms)
        assert list(model.weights) == list(reference.weights)
        assert all(torch.equal(weight, reference.weights[role]) for role, weight in model.weights.items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_layer_runs_twice_or_never(variant: str) -> None:
    model, ran = of(variant), []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model(images(3, *shape_for(variant)))
    leaves = [name for name, module in model.named_modules() if not list(module.children())]
    assert sorted(ran) == sorted(leaves)


@folded("variant", VARIANTS)
def test_an_input_norm_stands_alone(variant: str) -> None:
    model = of(variant, "batch", "input")
    assert [role for role, norm in model.norms.items() if norm.keeps_running_statistics] == ["input"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_whole_network_under_vmap_is_the_separate_networks(variant: str) -> None:
    models = [of(variant, seed=seed).double() for seed in range(2)]
    parameters, buffers = torch.func.stack_module_state(models)
    x = images(2, 6, *shape_for(variant)).double()
    buffers = {name: value.clone() for name, value in buffers.items()}

    def call(parameters: Any, buffers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(models[0], (parameters, buffers), (x,))

    together = torch.func.vmap(call)(parameters, buffers, x)
    for i, model in enumerate(models):
        torch.testing.assert_close(together[i], model(x[i]), rtol=0, atol=1e-10)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer, rtol=0, atol=1e-10)


@pytest.mark.slow_but(12)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm", ["batch", "layer", "rms", "weight_standardization"])
def test_the_loss_ignores_the_scales_that_are_declared_free(variant: str, norm: str) -> None:
    model, x = of(variant, norm).double(), images(8, *shape_for(variant)).double()
    for module in model.modules():
        if isinstance(getattr(module, "eps", None), float):
            module.eps = 1e-14
    expected = model(x)
    for role, scale in model.scale_invariant_weights.items():
        weight = model.weights[role]
        kept = weight.detach().clone()
        shape = (len(weight), *[1] * (weight.dim() - 1)) if scale == "rows" else (1,)
        with torch.no_grad():
            weight.mul_(0.5 + images(*shape).double().abs())
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-8)
            weight.copy_(kept)


def test_every_network_of_the_catalog_is_tested() -> None:
    assert {name for name, _ in VARIANTS.values()} | ELSEWHERE == set(MODELS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_linear_maps_and_norms_stand_in_the_order_of_the_forward_pass(variant):
    model, called = of(variant), []
    for kind in (model.linears, model.norms):
        called.clear()
        hooks = [m.register_forward_hook(lambda *_, role=role: called.append(role)) for role, m in kind.items()]
        model(images(4, *shape_for(variant)))
        assert called == list(kind)
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("variant", "small"),
    [
        ("vgg", {"output"}),
        ("resnet post, projections", {"output"}),
        ("resnet pre, projections", {"stem", "output"}),
        ("residual_mlp pre", {"stem", "unit1.down", "unit2.down", "output"}),
        ("residual_mlp post", {"stem", "unit1.down", "unit2.down", "output"}),
    ],
)
def test_small_initial_weights_stand_where_no_activation_is_in_the_unit(variant, small):
    assert of(variant).small_roles == small
