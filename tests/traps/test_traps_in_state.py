"""Traps in what a network keeps from one step to the next: what is found, and that each proposed cure works."""

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from bnlab import find_traps_in
from bnlab.norms.batch import BatchNorm


class Checkpointed(nn.Module):
    """Runs its part again in the backward pass, in place of keeping what the backward pass needs."""

    def __init__(self, *parts: nn.Module, use_reentrant: bool = False) -> None:
        super().__init__()
        self.inner, self.use_reentrant = nn.Sequential(*parts), use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.use_reentrant)  # type: ignore[no-any-return]


class Wired(nn.Module):
    def __init__(self, forward: Callable[["Wired", Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.wiring = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, x)


def found(model: nn.Module, x: Tensor) -> dict[str, str]:
    return {trap.name: trap.message for trap in find_traps_in(model, x)}


def linear(width: int = 6) -> nn.Linear:
    return nn.Linear(width, 6, bias=False)


def running_after(model: nn.Module, batches: list[Tensor], norm: nn.Module) -> Tensor:
    for x in batches:
        model.train()(x).square().mean().backward()
    return norm.running_var.clone()


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, BatchNorm])
def test_a_checkpointed_norm_is_found_and_the_momentum_proposed_undoes_it(
    kind: type[nn.Module], use_reentrant: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(linear(), linear(), kind(6), nn.ReLU(), linear())
    batches = [torch.randn(16, 6) for _ in range(20)]
    twice = copy.deepcopy(plain)
    model = nn.Sequential(twice[0], Checkpointed(*twice[1:], use_reentrant=use_reentrant))
    message = found(model, batches[0])["updated_twice"]
    assert message.startswith(f"1.inner.1 ({kind.__name__}): one training step updates the running statistics 2 times")
    assert "they keep 81% of the old value, not 90%" in message
    once = copy.deepcopy(plain)
    right = running_after(once, batches, once[2])
    wrong_model = copy.deepcopy(model)
    assert not torch.allclose(running_after(wrong_model, batches, wrong_model[1].inner[1]), right, rtol=1e-3)
    model[1].inner[1].momentum = float(re.findall(r"set its momentum to ([\d.]+)\.$", message)[0])
    assert torch.allclose(running_after(model, batches, model[1].inner[1]), right, rtol=1e-3)


def test_a_norm_outside_of_the_checkpointed_part_is_no_trap() -> None:
    assert (
        found(nn.Sequential(linear(), nn.BatchNorm1d(6), Checkpointed(nn.ReLU(), linear())), torch.randn(16, 6)) == {}
    )


def test_segments_of_torch_are_found_too() -> None:
    parts = nn.Sequential(linear(), nn.BatchNorm1d(6), nn.ReLU(), linear(), nn.BatchNorm1d(6), nn.ReLU())
    model = Wired(lambda net, x: checkpoint_sequential(net.parts, 2, x, use_reentrant=False), parts=parts)
    assert found(model, torch.randn(16, 6))["updated_twice"].startswith("parts.1 (BatchNorm1d)")


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(6, momentum=None),
        nn.BatchNorm1d(6, track_running_stats=False),
        nn.LayerNorm(6),
        nn.BatchNorm1d(6, momentum=0.0),
    ],
)
def test_a_norm_that_a_second_update_does_not_change_is_no_trap(norm: nn.Module) -> None:
    model = nn.Sequential(linear(), Checkpointed(linear(), norm, nn.ReLU(), linear()))
    assert "updated_twice" not in found(model, torch.randn(16, 6))


def test_a_norm_frozen_in_eval_mode_is_no_trap() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002
            return super().train(False)

    model = nn.Sequential(linear(), Checkpointed(Frozen(6), nn.ReLU(), linear()))
    assert "updated_twice" not in found(model, torch.randn(16, 6))


class Own(nn.Module):
    """Somebody's own norm, which puts a new tensor in its buffer's place and declares nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x - self.running_mean
        mean = x.mean(0)
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
        return x - mean


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), BatchNorm(6), Own()])
def test_a_norm_at_two_places_is_found_and_one_for_each_place_is_the_cure(norm: nn.Module) -> None:
    x = torch.randn(16, 6)
    model = Wired(lambda net, x: net.a(5 + net.b(net.a(x))), a=norm, b=linear())
    message = found(model, x)["updated_twice"]
    assert message.startswith(f"a ({type(norm).__name__}) runs 2 times in one forward pass")
    cured = Wired(lambda net, x: net.c(5 + net.b(net.a(x))), a=norm, b=linear(), c=copy.deepcopy(norm))
    assert "updated_twice" not in found(cured, x)


def test_what_is_said_of_a_norm_at_two_places_is_so() -> None:
    """Its running mean is the average of the inputs of both places, and in eval mode wrong for each."""
    norm = nn.BatchNorm1d(3, momentum=None, affine=False)
    model = Wired(lambda net, x: torch.cat([net.norm(x), net.norm(x + 4)]), norm=norm)
    x = torch.randn(64, 3)
    x = x - x.mean(0)
    model(x)
    torch.testing.assert_close(norm.running_mean, torch.full((3,), 2.0))
    assert float(model.eval()(x).mean().abs()) < 1e-5
    assert float(model(x)[:64].mean()) < -1


def test_power_iteration_of_a_shared_weight_is_no_trap() -> None:
    shared = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
    assert found(nn.Sequential(shared, nn.ReLU(), shared), torch.randn(16, 6)) == {}


def test_counting_leaves_gradients_buffers_and_hooks_alone() -> None:
    model, x = nn.Sequential(linear(), Checkpointed(nn.BatchNorm1d(6), linear())), torch.randn(16, 6)
    model(x).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    assert "updated_twice" in found(model, x)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_on_the_meta_device_it_is_found_without_numbers() -> None:
    with torch.device("meta"):
        model = nn.Sequential(linear(), Checkpointed(nn.BatchNorm1d(6), nn.ReLU(), linear()))
        assert "updated_twice" in found(model, torch.randn(16, 6))


# --- half precision ---------------------------------------------------------------------------------------------------


def test_a_running_variance_beyond_float16_is_found_and_the_cure_works() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(linear(), nn.BatchNorm1d(6)).half()
    x = (2000 * torch.randn(64, 6)).half()
    message = found(model, x)["running_overflow"]
    assert message.startswith("1 (BatchNorm1d): the running variance is kept in float16")
    for _ in range(20):
        assert bool(torch.isfinite(model(x)).all())  # training goes well
    assert bool(torch.isinf(model[1].running_var).any())
    assert float(model.eval()(x).detach().abs().min()) == 0  # and eval mode gives the bias
    cured = nn.Sequential(linear(), nn.BatchNorm1d(6)).half()
    cured[1].float()
    assert found(cured, x) == {}
    for _ in range(20):
        cured(x)
    assert bool(torch.isfinite(cured[1].running_var).all())


@pytest.mark.parametrize(
    ("norm", "scale", "dtype"),
    [
        (nn.BatchNorm1d(6), 100, torch.float16),
        (nn.BatchNorm1d(6), 2000, torch.bfloat16),
        (nn.BatchNorm1d(6), 1e6, torch.float32),
        (nn.LayerNorm(6), 2000, torch.float16),
        (BatchNorm(6), 2000, torch.float16),
    ],
)
def test_a_running_variance_that_fits_is_no_trap(norm: nn.Module, scale: float, dtype: torch.dtype) -> None:
    assert found(norm.to(dtype), (scale * torch.randn(64, 6)).to(dtype)) == {}


# --- state outside of buffers -----------------------------------------------------------------------------------------


class Attributes(Own):
    def __init__(self) -> None:
        super().__init__()
        del self.running_mean
        self.running_mean, self.num_calls = torch.zeros(6), 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        return super().forward(x)


def test_state_in_plain_attributes_is_found_named_and_left_as_it_was() -> None:
    norm = Attributes()
    message = found(nn.Sequential(linear(), norm), torch.randn(16, 6))["state_outside_buffers"]
    assert message.startswith(
        "the network keeps state outside of buffers (running_mean): what is loaded from its state"
    )
    assert 'self.register_buffer("running_mean", tensor)' in message
    assert torch.equal(norm.running_mean, torch.zeros(6))
    assert norm.num_calls == 0
    assert found(nn.Sequential(linear(), Own()), torch.randn(16, 6)) == {}


class AsksForGradients(nn.Module):
    """A textbook's layer: it takes a pass without gradients for eval mode, and its statistics are no buffers."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.keep(torch.zeros(num_channels), torch.ones(num_channels))

    def keep(self, mean: Tensor, var: Tensor) -> None:
        self.moving_mean, self.moving_var = mean, var

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return (x - self.moving_mean) / (self.moving_var + 1e-5).sqrt()
        mean, var = x.mean(0), x.var(0, correction=0)
        new = 0.9 * self.moving_mean + 0.1 * mean, 0.9 * self.moving_var + 0.1 * var
        self.moving_mean, self.moving_var = (value.detach() for value in new)
        return (x - mean) / (var + 1e-5).sqrt()


class AsksForGradientsWithBuffers(AsksForGradients):
    def keep(self, mean: Tensor, var: Tensor) -> None:
        self.register_buffer("moving_mean", mean)
        self.register_buffer("moving_var", var)


def test_state_that_moves_only_with_gradients_is_found_and_left_as_it_was() -> None:
    x = torch.randn(16, 6)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), AsksForGradients(8))
    assert "of buffers (moving_mean, moving_var)" in found(model, x)["state_outside_buffers"]
    assert torch.equal(model[1].moving_mean, torch.zeros(8))
    assert found(nn.Sequential(nn.Linear(6, 8, bias=False), AsksForGradientsWithBuffers(8)), x) == {}
