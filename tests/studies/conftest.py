import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from judged_runs import Setting, rising, write_run

from bnlab.results.sweep import write_sweep


@pytest.fixture
def write_settings() -> Callable[..., Path]:
    """Write a grid of norms, three learning rates, two weight decays and three seeds; None leaves no run."""

    def write(folder: Path, accuracy: Callable[[Setting], float | None], norms: tuple[str, ...]) -> Path:
        planned = []
        for norm, lr, decay, seed in itertools.product(norms, (0.01, 0.1, 1.0), (0.0, 0.01), (0, 1, 2)):
            name = f"{norm}-mlp-digits-lr{lr:g}-s{seed}-{int(1000 * decay):08d}"
            planned.append(name)
            end = accuracy(Setting(norm, lr, decay, seed))
            if end is not None:
                optim = {"name": "sgd", "lr": lr, "weight_decay": decay}
                config = {"norm": {"name": norm}, "optim": optim, "seed": seed}
                write_run(folder / name, {**config, "model": {"name": "mlp"}, "data": {"name": "digits"}}, rising(end))
        words = [f"norm={','.join(norms)}", "optim.lr=0.01,0.1,1", "optim.weight_decay=0,0.01", "seed=0,1,2"]
        write_sweep(folder, words, planned)
        return folder

    return write
