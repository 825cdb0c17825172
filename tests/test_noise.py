"""Where a network's noise comes from."""

import pytest
import torch
import torch.nn.functional as F

from bnlab import noise
from bnlab.models.blocks import Dropout
from bnlab.norms.batch_noisy import NoisyBatchNorm

CPU = torch.device("cpu")


def network() -> torch.nn.Module:
    return torch.nn.Sequential(NoisyBatchNorm(3), Dropout(0.4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_draws_what_torchs_does(dtype: torch.dtype) -> None:
    x = torch.randn(50, 30, dtype=dtype, requires_grad=True)
    torch.manual_seed(3)
    y = Dropout(0.3)(x)
    torch.manual_seed(3)
    assert torch.equal(y, F.dropout(x, 0.3))
    assert torch.equal(Dropout(0.3).eval()(x), x)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], (y != 0).to(dtype) / 0.7)


def test_draws_do_not_depend_on_the_memory_layout() -> None:
    x = torch.randn(8, 3, 5, 4)
    outputs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        outputs.append(network()(x.to(memory_format=layout)))
    torch.testing.assert_close(*outputs)


def test_what_is_drawn_for_a_layer_is_what_it_would_have_drawn() -> None:
    x = torch.randn(9, 3)
    with noise.recorded() as draws:
        network()(x)
    assert [draw.kind for draw in draws] == ["uniform", "uniform", "uniform", "normal", "bernoulli"]
    generator = torch.Generator().manual_seed(7)
    drawn = [draw.fill(torch.empty(draw.shape, dtype=draw.dtype), generator) for draw in draws]
    before = torch.get_rng_state()
    with noise.supplied(drawn):
        supplied = network()(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert torch.equal(supplied, network()(x))


def test_after_a_supply_layers_draw_for_themselves_again() -> None:
    with pytest.raises(StopIteration), noise.supplied([]):
        noise.normal((2,), torch.float32, CPU)
    torch.manual_seed(0)
    drawn = noise.normal((2,), torch.float32, CPU)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.randn(2))
