"""A run that processes share is the run of one process with the whole batch."""

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from composed import compose_parts

from bnlab.data.splits import Split
from bnlab.errors import ProcessLostError
from bnlab.experiment.assembly import assemble, assemble_shared
from bnlab.experiment.checking import Checked, check
from bnlab.schema import RunConfig
from bnlab.training.interruption import Interruption
from bnlab.training.shared_run import AgreedInterruption, saying_who_is_missing
from bnlab.world import World, find_world

COMMON = ["data=digits", "data.limit=300", "train.batch_size=24", "train.steps=6", "model.width=8", "model.depth=2"]
CASES = {
    "no norm": ["norm=none", "optim.lr=0.05", "train.label_smoothing=0.2"],
    "shared statistics": ["norm=batch", "norm.sync=true"],
    "shared statistics and parts": ["norm=batch", "norm.sync=true", "train.accumulation=3"],
    "samples apart": ["norm=layer", "optim=adamw", "optim.lr=0.01", "optim.clip_norm=0.5"],
    "muon": ["norm=rms", "optim=muon"],
}


@contextlib.contextmanager
def checked_in_float64(words: list[str]) -> Iterator[tuple[RunConfig, Checked]]:
    """Give a config and its data in float64; networks that are built meanwhile have this type too."""
    config = compose_parts(words)
    checked = check(config)
    data = checked.data
    splits = {
        name: Split(getattr(data, name).images.double(), getattr(data, name).labels)
        for name in ("train", "validation", "test")
    }
    torch.set_default_dtype(torch.float64)
    try:
        yield config, dataclasses.replace(checked, data=dataclasses.replace(data, **splits))
    finally:
        torch.set_default_dtype(torch.float32)


def outcome(run: Any, num_steps: int = 6) -> dict[str, Any]:
    """Return the losses, logits and final weights of a run."""
    seen = [outcome for outcome, _ in zip(run.steps(), range(num_steps), strict=False)]
    losses, logits, labels = (torch.stack(parts) for parts in zip(*seen, strict=True))
    return {"losses": losses, "logits": logits, "labels": labels, **run.weights()[0]}


def work(rank: int, size: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=size)
    results = {}
    for name, words in CASES.items():
        with checked_in_float64([*COMMON, *words, f"train.processes={size}"]) as (config, checked):
            run = assemble_shared(config, checked, find_world(), AgreedInterruption(Interruption()))
            results[name] = outcome(run)
            results[f"{name}, measured"] = [run.evaluate("validation"), run.measure(6, heavy=False)]
    asked = Interruption()
    config = compose_parts([*COMMON, "norm=none", f"train.processes={size}"])
    run = assemble_shared(config, check(config), find_world(), AgreedInterruption(asked))
    stops = []
    for step, _ in zip(range(1, 4), run.steps(), strict=False):
        stops.append(run.interruption.is_asked)
        asked.is_asked |= step == 2 and rank == 1  # of one process only
    results["stops"] = stops
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_the_steps_of_two_processes_are_those_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (2, port, tmp_path), 2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    for name, words in CASES.items():
        with checked_in_float64([*COMMON, *words]) as (config, checked):
            run, _ = assemble(config, checked)
            for key, value in outcome(run).items():
                torch.testing.assert_close(first[name][key], value, rtol=1e-10, atol=1e-10)
                torch.testing.assert_close(second[name][key], first[name][key], rtol=0, atol=1e-14)
            evaluated, measured = first[f"{name}, measured"]
            assert evaluated == [pytest.approx(run.evaluate("validation")[0], rel=1e-9)]
            (whole,) = run.measure(6, heavy=False)
        assert measured[0].keys() == whole.keys()
        for diagnostic, values in whole.items():
            assert measured[0][diagnostic] == pytest.approx(values, rel=1e-6, abs=1e-9, nan_ok=True), diagnostic
        assert second[f"{name}, measured"] == [[{}], [{}]]  # process 0 alone evaluates and measures
    assert first["stops"] == second["stops"] == [False, False, True]


@pytest.mark.parametrize("text", ["[gloo/transport] Connection closed by peer [127.0.0.1]:1234", "NCCL error"])
def test_the_end_of_another_process_is_one_sentence(text: str) -> None:
    law = "another of the 2 processes that share this run ended at step 1,234"
    with pytest.raises(ProcessLostError, match=law), saying_who_is_missing(World(0, 2), 1234):
        raise RuntimeError(text)


def test_another_error_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), saying_who_is_missing(World(0, 2), 1):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.slow
def test_a_network_of_ones_own_may_have_parameters_that_are_not_used(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        config = compose_parts(["data=digits", "data.limit=300", "train.batch_size=24", "model=own_networks:Unused"])
        run = assemble_shared(config, check(config), World(0, 1), AgreedInterruption(Interruption()))
        assert outcome(run, 3)["losses"].isfinite().all()
    finally:
        dist.destroy_process_group()
