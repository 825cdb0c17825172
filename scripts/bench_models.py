"""Bench whole networks: images per second, the share of norms, and the loops that others would write.

    python scripts/bench_models.py                                   # six networks with five norms, and two peers
    python scripts/bench_models.py --model 'resnet model.depth=32'   # another one; may be repeated
    python scripts/bench_models.py --no-peers                        # bnlab alone
    python scripts/bench_models.py --write                           # keep the figures in scripts/bench_results/

Every network is trained on color images of 32x32 pixels (CIFAR-10 if BNLAB_DATA has it, else noise), mirrored and
shifted, with SGD and momentum. All contestants of one network take turns in one process; speeds are medians over
rounds, ratios are medians of the ratio within a round, with quartiles, so that the speed of a shared machine drops out.

    images/s   bnlab's training loop: batches, forward, backward, optimizer step, loss curve
    in norms   1 - (time of a step with norm=none) / (time of a step): no profiler and no hook disturbs it. It counts
               all that a norm brings along; below 0: the norm costs less than the noise of the clock
    reached    floating-point operations of a training step (torch counts those of all matrix products and
               convolutions, forward and backward) per second, as a share of what one large matrix product in float32
               reaches beside it
    plain      the loop as people write it: a DataLoader over PIL images with torchvision's transforms, loss.item() in
               every step, torch's own norm; without workers or with two of them, whichever is faster
    lightning  its Trainer with the same DataLoader without workers; logger, progress bar and checkpoints off. It is
               measured if it is installed
    same norm  bnlab with PyTorch's norm, which the peers have: what its loop and its batches alone are worth
"""

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_models_peers import LR, MOMENTUM, Pictures, PlainLoop, lightning_seconds, loader_of, noise_images
from bench_models_table import ratio_of, show, spread
from bench_norms import RESULTS
from torch.utils.flop_counter import FlopCounterMode

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.data.locations import where_found
from bnlab.data.sources import open_source
from bnlab.errors import ConfigError
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked, check
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.records import StepRecord
from bnlab.schema import RunConfig
from bnlab.training.loop import Event, Plan, train
from bnlab.training.precision import computing_with

MODELS = ("cnn", "resnet model.depth=20", "vgg model.depth=11", "vit", "lstm", "mlp")
NORMS = ("none", "batch", "layer", "group", "rms")
PEER_NORMS = {"batch": "batch_torch", "layer": "layer_torch"}
"""bnlab's norm -> PyTorch's, which the peers have. The first that a network can have is compared."""

OF_TOKENS = {"vit", "lstm", "rnn"}
"""Networks that people build with LayerNorm."""

NUM_IMAGES, CROP_PADDING, BATCH_SIZE = 10_000, 2, 64
PRODUCT_SIZE = 1024
"""Rows and columns of the matrices of one large product: 2.1 GFLOP, 12 MB in float32."""

HAS_LIGHTNING = importlib.util.find_spec("lightning") is not None

Turn = Callable[[], float]


def data_words(folder: Path) -> list[str]:
    """Return the words that name the images: CIFAR-10 where it is on this machine, else noise, written to a folder."""
    common = [f"data.limit={NUM_IMAGES}", "data.validation_share=0.02", "data.flip=true"]
    common += [f"data.crop_padding={CROP_PADDING}"]
    if where_found("cifar10"):
        return ["data=cifar10", *common]
    images, labels = noise_images(NUM_IMAGES, 32)
    np.savez(folder / "noise.npz", images=images, labels=labels)
    return ["data=npz", f"data.path={folder / 'noise.npz'}", "data.test_share=0.02", *common]


def config_of(model: str, norm: str, words: Sequence[str]) -> RunConfig:
    """Return the settings of an arm.

    Args:
        model: A model, and words of its own.
        norm: A norm.
        words: Of all arms.
    """
    training = [f"train.batch_size={BATCH_SIZE}", f"optim.lr={LR}", f"optim.momentum={MOMENTUM}", "train.epochs=1"]
    accepted = "accept=[statistics_not_settled]"
    return compose_run([f"model={model.split()[0]}", *model.split()[1:], f"norm={norm}", *training, accepted, *words])


def turn_of_bnlab(config: RunConfig, checked: Checked, num_steps: int, rounds: int) -> Turn:
    """Return what makes a turn of bnlab's training loop, and returns the seconds of one step.

    Args:
        config: The settings of the run.
        checked: What `check` found for them.
        num_steps: Of a turn.
        rounds: How many turns will be asked for.
    """
    last = num_steps * (rounds + 3)  # the loop never ends here: the last turns are not asked for
    no_steps: frozenset[int] = frozenset()
    plan = Plan(last, BATCH_SIZE, num_steps, last, no_steps, no_steps, False, None, 1e9, last)
    events = train(assemble(config, checked)[0], plan)

    def turn() -> float:
        began = time.perf_counter()
        next_point(events)
        return (time.perf_counter() - began) / num_steps

    next_point(events)
    return turn


def next_point(events: Iterator[Event]) -> None:
    """Train on until the next point of the loss curve."""
    while not isinstance(next(events), StepRecord):
        pass


def steps_of_a_turn(config: RunConfig, checked: Checked, turn_s: float) -> int:
    """Return how many steps fill a turn.

    Args:
        config: The settings of a run.
        checked: What `check` found for them.
        turn_s: The seconds of a turn.
    """
    steps = assemble(config, checked)[0].steps()
    next(steps)
    began = time.perf_counter()
    for _ in itertools.islice(steps, 2):
        pass
    return max(1, round(turn_s * 2 / (time.perf_counter() - began)))


def plain_network(config: RunConfig, checked: Checked) -> Network:
    """Return the network of a run with its initial weights, as PyTorch lays them out."""
    network = build_network(config, checked.data.input_shape, checked.data.num_classes)
    seed_weights(network, config.model, config.seed)
    return network


def training_flop(network: Network, input_shape: tuple[int, ...]) -> int:
    """Return the floating-point operations of matrix products of a training step, for one image."""
    images, labels = torch.randn(2, *input_shape), torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network.train()(images), labels).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // 2


def turn_of_product(turn_s: float) -> Turn:
    """Return what multiplies large matrices for about so many seconds, and returns the seconds of one product."""
    a, b = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE)
    out = torch.empty_like(a)

    def seconds(num: int) -> float:
        began = time.perf_counter()
        for _ in range(num):
            torch.mm(a, b, out=out)
        return (time.perf_counter() - began) / num

    seconds(2)
    num = max(1, round(turn_s / 3 / seconds(2)))
    return lambda: seconds(num)


def peers(config: RunConfig, checked: Checked, num_steps: int) -> dict[str, Turn]:
    """Return the turns of the loops of others, by name.

    Args:
        config: The settings of the run with PyTorch's own norm.
        checked: What `check` found for them.
        num_steps: Of a turn.
    """
    source = open_source(config.data).train
    pictures = Pictures(source.images[:NUM_IMAGES], source.labels[:NUM_IMAGES], CROP_PADDING)
    turns: dict[str, Turn] = {}
    for num_workers in (0, 2):
        loop = PlainLoop(plain_network(config, checked), loader_of(pictures, BATCH_SIZE, num_workers))
        turns[f"plain {num_workers}"] = lambda loop=loop: loop.seconds(num_steps)  # type: ignore[misc]
    if HAS_LIGHTNING:
        network, loader = plain_network(config, checked), loader_of(pictures, BATCH_SIZE, 0)
        turns["lightning"] = lambda: lightning_seconds(network, loader, num_steps)
    return turns


def checked_arms(model: str, words: Sequence[str]) -> dict[str, tuple[RunConfig, Checked]]:
    """Return the arms of a network by norm; a norm that it cannot have is left out."""
    found = {}
    for norm in dict.fromkeys([*NORMS, *PEER_NORMS.values()]):
        try:
            config = config_of(model, norm, words)
            found[norm] = config, check(config)
        except ConfigError:
            continue
    return found


def measure(model: str, words: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a network.

    Args:
        model: A model, and words of its own.
        words: Of all arms.
        arguments: Of the command line.
    """
    arms = checked_arms(model, words)
    num_steps = steps_of_a_turn(*arms["none"], arguments.turn)
    norms = [norm for norm in NORMS if norm in arms]
    turns = {norm: turn_of_bnlab(*arms[norm], num_steps, arguments.rounds) for norm in norms}
    order = sorted(PEER_NORMS, reverse=model.split()[0] in OF_TOKENS)
    compared = next(norm for norm in order if norm in arms and PEER_NORMS[norm] in arms)
    others: dict[str, Turn] = {}
    if not arguments.no_peers:
        with_theirs = arms[PEER_NORMS[compared]]
        others = peers(*with_theirs, num_steps)
        others["same norm"] = turn_of_bnlab(*with_theirs, num_steps, arguments.rounds)
    turns |= {**others, "product": turn_of_product(arguments.turn)}
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(arguments.rounds + 1):
        for name, turn in turns.items():
            seconds = turn()
            if number:  # the first round warms up
                times[name].append(seconds)
    config, checked = arms["none"]
    flop = training_flop(plain_network(config, checked), checked.data.input_shape)
    rows = {norm: row_of(times[norm], times["none"], times["product"], flop) for norm in norms}
    found: dict[str, Any] = {"steps_of_a_turn": num_steps, "flop_of_an_image": flop, "norms": rows}
    if others:
        plain = min(("plain 0", "plain 2"), key=lambda name: statistics.median(times[name]))
        named = {"plain": plain, **({"lightning": "lightning"} if "lightning" in others else {})}
        found |= {"compared": compared, "workers": int(plain.split()[1])}
        found["peers"] = {
            peer: {
                "images_per_s": BATCH_SIZE / statistics.median(times[name]),
                "bnlab_is_times_as_fast": ratio_of(times[name], times[compared]),
                "with_the_same_norm": ratio_of(times[name], times["same norm"]),
            }
            for peer, name in named.items()
        }
    return found


def row_of(own: Sequence[float], none: Sequence[float], product: Sequence[float], flop: int) -> dict[str, Any]:
    """Return the figures of one norm, from the seconds of a step or of a product by round."""
    shares = [1 - other / mine for mine, other in zip(own, none, strict=True)]
    rates = [BATCH_SIZE * flop / mine / (2 * PRODUCT_SIZE**3 / other) for mine, other in zip(own, product, strict=True)]
    return {
        "images_per_s": BATCH_SIZE / statistics.median(own),
        "in_norms": spread(shares),
        "reached": spread(rates),
    }


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the config, for all arms")
    parser.add_argument("--model", action="append", help="a model, and words of its own; nothing is kept of it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.15, help="seconds that a turn takes without a norm, about")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-peers", action="store_true", help="measure bnlab alone")
    parser.add_argument("--write", action="store_true", help="keep the figures in scripts/bench_results/")
    arguments = parser.parse_args()
    if arguments.write and (arguments.model or arguments.no_peers):
        parser.error("--write keeps the figures of all models and peers: leave out --model and --no-peers")
    if not HAS_LIGHTNING and not arguments.no_peers:
        print("lightning is not installed, and is left out: pip install lightning")
    with tempfile.TemporaryDirectory() as folder:
        words = [*data_words(Path(folder)), "device=cpu", "diagnostics=none", *arguments.overrides]
        with computing_with(arguments.threads, 0, torch.device("cpu")):
            rows = {}
            for model in arguments.model or MODELS:
                rows[model] = measure(model, words, arguments)
                show({model: rows[model]})
    if arguments.write:
        versions = {
            **provenance.versions(),
            **({"lightning": importlib.metadata.version("lightning")} if HAS_LIGHTNING else {}),
        }
        facts = {"threads": arguments.threads, "rounds": arguments.rounds, "batch_size": BATCH_SIZE}
        kept = {"made": provenance.now(), "hardware": provenance.hardware(), "versions": versions, **facts}
        (RESULTS / "models.json").write_text(json.dumps({**kept, "data": words[0], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
