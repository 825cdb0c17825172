"""BatchNorm by running or frozen statistics in training mode too."""

import numpy as np
import pytest
import torch

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.population import PopulationBatchNorm


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1) + 0.5)
    return norm


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 5)])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_training_output_is_the_formula_with_the_statistics_from_before(shape, eps):
    norm, axes = shuffled(PopulationBatchNorm(3, eps=eps).double()), (0, *range(2, len(shape)))
    mean, var = np.zeros(3), np.ones(3)
    per_channel = (1, 3) + (1,) * (len(shape) - 2)
    for step in range(4):
        x = 2 * draw(*shape, seed=step) + 1
        xhat = (x.numpy() - mean.reshape(per_channel)) / np.sqrt(var.reshape(per_channel) + eps)
        weight, bias = (p.detach().numpy().reshape(per_channel) for p in norm.parameters())
        np.testing.assert_allclose(norm(x).detach(), weight * xhat + bias, rtol=1e-12, atol=1e-12)
        mean = 0.9 * mean + 0.1 * x.numpy().mean(axes)
        var = 0.9 * var + 0.1 * x.numpy().var(axes)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-12)
    assert norm.num_batches_tracked == 4


def test_statistics_move_as_batch_norms_do():
    ours, batch = PopulationBatchNorm(3, momentum=None).double(), BatchNorm(3, momentum=None).double()
    for step in range(3):
        x = draw(6, 3, 2, seed=step)
        ours(x)
        batch(x)
    torch.testing.assert_close(ours.state_dict(), batch.state_dict())
    torch.testing.assert_close(ours.eval()(x), batch.eval()(x))


@pytest.mark.parametrize("source", ["running", "frozen"])
def test_the_gradient_is_that_of_an_affine_map(source):
    """It is weight / sigma times the output's gradient; BatchNorm's sums to 0 over the batch."""
    norm, x, cotangent = PopulationBatchNorm(2, source=source).double(), draw(6, 2).requires_grad_(), draw(6, 2, seed=1)
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    with torch.no_grad():
        norm.weight.fill_(3.0)
    (gradient,) = torch.autograd.grad(norm(x), x, cotangent)
    np.testing.assert_allclose(gradient, cotangent.numpy() * 3 / np.sqrt([4 + 1e-5, 0.25 + 1e-5]), rtol=1e-12)


def test_frozen_statistics_stay_what_they_were_set_to():
    norm = PopulationBatchNorm(3, source="frozen").double()
    donor = BatchNorm(3).double()
    donor(draw(6, 3) + 5)
    norm.load_state_dict(donor.state_dict())
    x = draw(6, 3)
    torch.testing.assert_close(norm.train()(x), donor.eval()(x))
    torch.testing.assert_close(norm.state_dict(), donor.state_dict())


def test_frozen_statistics_take_a_batch_of_one_and_running_ones_refuse_it():
    x = draw(1, 3)
    torch.testing.assert_close(PopulationBatchNorm(3, source="frozen", eps=1e-12).double()(x), x)  # by 0 and 1
    with pytest.raises(ConfigError, match="more than one value per channel"):
        PopulationBatchNorm(3).double()(x)


def test_without_a_gradient_through_the_mean_a_bias_before_it_grows_while_the_loss_stays():
    """Ioffe & Szegedy 2015, section 2: the statistics undo each step, and the gradient repeats it."""

    def followed(norm):
        bias, x, course = torch.zeros(1, requires_grad=True), draw(64, 1).float(), []
        for _ in range(400):
            loss = (norm(x + bias) - 3).square().mean()  # no centered output has a mean of 3
            (gradient,) = torch.autograd.grad(loss, bias)
            bias = (bias - 0.1 * gradient).detach().requires_grad_()
            course.append((bias.item(), loss.item()))
        return course[199], course[399]

    (bias_early, loss_early), (bias_late, loss_late) = followed(PopulationBatchNorm(1, affine=False))
    assert bias_early > 20
    assert bias_late > 1.9 * bias_early
    assert loss_late == pytest.approx(loss_early, rel=1e-3)
    assert abs(followed(BatchNorm(1, affine=False))[1][0]) < 1e-3


def test_source_must_be_known():
    with pytest.raises(ConfigError, match=r"norm\.source must be running or frozen, got batch"):
        PopulationBatchNorm(3, source="batch")
