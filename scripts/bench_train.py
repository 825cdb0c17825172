"""Bench the training loop against one written by hand, and the default diagnostics against none.

    python scripts/bench_train.py            # the default MLP, for some norms
    python scripts/bench_train.py --rounds 15 model.width=32

All train the same model on the same in-memory tensors with fused SGD in one process, in turn: hand, bnlab without
loggers, bnlab, bnlab with diagnostics, hand, ... Each does the same job: a loss curve, loss and accuracy on the
validation set once per epoch, and on the test set at the end. The hand-written loop keeps these in two lists; bnlab
also has accuracy on the curve, watches for divergence, and writes metrics.jsonl, timings.jsonl and TensorBoard
events. Figures are ratios of one round's times, so that the speed of a shared machine drops out.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.data.splits import Split
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.loop import Checkpoint, FinalWeights, train


def by_hand(config: RunConfig) -> float:
    """Return the seconds that the hand-written loop takes."""
    checked = check(config)
    run, model = assemble(config, checked)
    images, labels = run.data.train.images, run.data.train.labels
    optimizer = torch.optim.SGD(model.parameters(), lr=config.optim.lr, fused=True)
    generator = torch.Generator().manual_seed(config.seed)
    size, step = config.train.batch_size, 0
    losses, curve, validations = [], [], []
    began = time.perf_counter()
    while step < checked.plan.num_steps:
        model.train()
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(labels) - size + 1, size):
            chosen = order[start : start + size]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
            step += 1
            if step % config.train.log_every == 0:
                curve.append(torch.stack(losses).mean().item())
                losses.clear()
            if step == checked.plan.num_steps:
                break
        model.eval()
        validations.append(look(model, run.data.validation))
    look(model, run.data.test)
    return time.perf_counter() - began


@torch.no_grad()
def look(model: torch.nn.Module, split: Split) -> tuple[float, float]:
    """Return loss and accuracy on a split, at once."""
    logits = model(split.images)
    loss = F.cross_entropy(logits, split.labels).item()
    return loss, (logits.argmax(1) == split.labels).float().mean().item()


def by_bnlab(config: RunConfig, *, records: bool) -> float:
    """Return the seconds that bnlab takes, with or without writing down its records."""
    checked = check(config)
    run, model = assemble(config, checked)
    with tempfile.TemporaryDirectory() as folder:
        run_folder = RunFolder(Path(folder) / "run")
        with run_folder.opened_for_training(config, {}):
            logger = TensorBoardLogger(run_folder.path, config, list(model.linears)) if records else None
            began = time.perf_counter()
            for record in train(run, checked.plan):
                if logger is not None and not isinstance(record, Checkpoint | FinalWeights):
                    run_folder.append(record)
                    logger.take(record)
            duration = time.perf_counter() - began
            if logger is not None:
                logger.close(None)
    return duration


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1160)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="of the config, for all rows")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    facts = provenance.hardware()
    print(f"{facts['processor']}, {arguments.threads} thread(s); torch {torch.__version__}")
    print(f"{arguments.rounds} rounds of {arguments.steps} steps; median (quartiles) of the ratios of a round")
    print(f"{'norm':12}{'by hand':>14}{'loop / hand':>24}{'with records / hand':>24}{'diagnostics / none':>24}")
    for norm in ("none", "batch", "batch_torch", "layer"):
        words = [f"norm={norm}", f"train.steps={arguments.steps}", *arguments.overrides]
        quiet, cheap = compose_run([*words, "diagnostics=none"]), compose_run([*words, "diagnostics=cheap"])
        hand, loop, recorded, measured = [], [], [], []
        for _ in range(arguments.rounds):
            hand.append(by_hand(quiet))
            loop.append(by_bnlab(quiet, records=False) / hand[-1])
            quiet_s = by_bnlab(quiet, records=True)
            recorded.append(quiet_s / hand[-1])
            measured.append(by_bnlab(cheap, records=True) / quiet_s)
        row = f"{norm:12}{arguments.steps / statistics.median(hand):>6.0f} steps/s"
        print(row + "".join(f"{_spread(ratios):>24}" for ratios in (loop, recorded, measured)))


def _spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
