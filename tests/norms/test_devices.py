"""Several devices in one process, compared with one layer per device, and with a single layer."""

import pytest
import torch

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.devices import BatchDevices


def draw(*shape):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 2, 2)])
def test_each_device_is_a_batch_norm_of_its_own_and_the_first_ones_statistics_are_kept(shape):
    together, alone = BatchDevices(3, num_devices=3).double(), [BatchNorm(3).double() for _ in range(3)]
    x = draw(*shape)
    for _ in range(2):
        y = together(x)
        expected = torch.cat([norm(shard) for norm, shard in zip(alone, x.split([3, 2, 2]), strict=True)])
    torch.testing.assert_close(y, expected)
    for name, value in together.named_buffers():
        torch.testing.assert_close(value, dict(alone[0].named_buffers())[name])
    together.eval()
    torch.testing.assert_close(together(x), alone[0].eval()(x))


@pytest.mark.parametrize("options", [{"num_devices": 3, "sync": True}, {"num_devices": 1}])
def test_one_device_or_synchronized_ones_are_batch_norm(options):
    ours, theirs = BatchDevices(3, **options).double(), BatchNorm(3).double()
    x = draw(7, 3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_the_gradient_stays_on_its_device():
    x = draw(6, 2).requires_grad_()
    (dx,) = torch.autograd.grad(BatchDevices(2, num_devices=2).double()(x)[:3].pow(3).sum(), x)
    assert dx[:3].abs().min() > 0
    assert torch.equal(dx[3:], torch.zeros(3, 2, dtype=torch.float64))


def test_more_devices_than_samples_or_one_row_each_are_refused():
    with pytest.raises(ConfigError, match=r"norm\.num_devices must be at most the batch size, got 4 devices for 3"):
        BatchDevices(2, num_devices=4)(torch.randn(3, 2))
    with pytest.raises(ConfigError, match="more than one value per channel"):
        BatchDevices(2, num_devices=4)(torch.randn(7, 2))
    assert BatchDevices(2, num_devices=4)(torch.randn(4, 2, 3)).shape == (4, 2, 3)


def test_switched_off_tracking_moves_nothing():
    norm = BatchDevices(3)
    norm.track_running_stats = False
    norm(torch.randn(6, 3))
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.num_batches_tracked == 0


def test_says_how_many_samples_a_statistic_sees():
    assert BatchDevices(3, num_devices=4).samples_per_statistic(30, 1) == 7
    assert BatchDevices(3, num_devices=4, sync=True).samples_per_statistic(30, 1) == 30
