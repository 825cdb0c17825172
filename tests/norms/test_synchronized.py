"""Statistics over several processes: each holds a shard, and all together are one process with the whole batch."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm

SHARDS = {1: [9], 3: [1, 3, 5]}
"""Samples per process: never equal, and one alone is fewer than a process could normalize by itself on (N, C)."""


def whole_batch(shape):
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(9, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return 2 * x + 1, g


def normalize(norm, x, g):
    x = x.clone().requires_grad_()
    for _ in range(2):  # the second batch meets running statistics that have moved
        y = norm(x)
    dx, dweight, dbias = torch.autograd.grad(y, (x, norm.weight, norm.bias), g)
    return {"y": y.detach(), "dx": dx, "dweight": dweight, "dbias": dbias, **dict(norm.named_buffers())}


def new_norm(unbiased):
    norm = BatchNorm(4, sync=True, unbiased_running_var=unbiased).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    return norm


def work(rank, num_processes, meeting_place, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting_place, rank=rank, world_size=num_processes)
    results = {}
    for shape in [(4,), (4, 3, 2)]:
        for unbiased in (False, True):
            x, g = (t.split(SHARDS[num_processes])[rank] for t in whole_batch(shape))
            results[shape, unbiased] = normalize(new_norm(unbiased), x, g)
    x_empty = torch.empty(0, 4, dtype=torch.float64)
    results["empty"] = new_norm(False)(x_empty).shape
    x_mine = whole_batch((4,))[0][:3] if rank == 0 else x_empty
    results["some empty"] = new_norm(False)(x_mine).detach()
    try:
        new_norm(False)(whole_batch((4,))[0][:1] if rank == 0 else x_empty)
    except ConfigError as error:
        results["refused"] = str(error)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def results_of(num_processes, folder: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (num_processes, f"tcp://127.0.0.1:{port}", folder), num_processes)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(num_processes)]


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", SHARDS)
def test_processes_together_are_one_with_the_whole_batch(num_processes, tmp_path):
    results = results_of(num_processes, tmp_path)
    for shape in [(4,), (4, 3, 2)]:
        for unbiased in (False, True):
            x, g = whole_batch(shape)
            theirs = nn.BatchNorm1d(4) if len(shape) == 1 else nn.BatchNorm2d(4)
            theirs = theirs.double()
            theirs.load_state_dict(new_norm(unbiased).state_dict())
            expected = normalize(theirs, x, g)
            shards = [result[shape, unbiased] for result in results]
            for name in ("y", "dx"):
                torch.testing.assert_close(torch.cat([shard[name] for shard in shards]), expected[name])
            for name in ("dweight", "dbias"):  # each process has its own part, as of any layer
                torch.testing.assert_close(sum(shard[name] for shard in shards), expected[name])
            for shard in shards:
                torch.testing.assert_close(shard["running_mean"], expected["running_mean"])
                n = x.numel() // 4
                biased = 0.81 + 0.19 * x.transpose(0, 1).flatten(1).var(1, correction=0)
                torch.testing.assert_close(
                    shard["running_var"], expected["running_var"] if unbiased else biased, msg=f"{n} values"
                )
                assert shard["num_batches_tracked"] == 2
    for result in results:
        assert result["empty"] == (0, 4)
    three = whole_batch((4,))[0][:3].numpy()
    weight = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(
        results[0]["some empty"], weight * (three - three.mean(0)) / np.sqrt(three.var(0) + 1e-5), rtol=1e-10
    )
    assert all("more than one value per channel" in result["refused"] for result in results)


def test_without_other_processes_it_is_the_layer_itself():
    x = torch.randn(5, 4)
    assert torch.equal(BatchNorm(4, sync=True)(x), BatchNorm(4)(x))


def test_torchs_synchronized_layer_becomes_ours():
    assert BatchNorm.from_torch(nn.SyncBatchNorm(4)).sync
