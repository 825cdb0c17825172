"""Write docs/speed.md from what the benchmarks of whole networks and of cohorts have kept.

python scripts/write_speed.py            # after scripts/bench_results/models.json or cohorts.json changed
python scripts/write_speed.py --check    # fail if the page is not up to date
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
BENCHES = ROOT / "scripts" / "bench_results"

HEAD = """\
# How fast networks train, and runs together

Speeds hold for the machine that is named; only ratios of contestants that take turns in one process say something
about another one. Brackets hold quartiles over rounds. Written by `scripts/write_speed.py` from the files that the
benchmarks keep.
"""

MODELS = """
## Whole networks

`scripts/bench_models.py` trains on color images of 32x32 pixels, mirrored and shifted, with SGD and momentum, in
batches of {batch_size}: {machine}; medians of {rounds} rounds in turn.

"In norms" is the share of a step's time that goes when the norm is left out. "Reached" is the rate of the network's
matrix products and convolutions, forward and backward, as a share of what one large matrix product reaches beside it
in the same float type.
"""

PEERS = """
Against the loops that others would write, with the same network, optimizer and augmentation. "Plain" is a DataLoader
over PIL images with torchvision's transforms, without workers or with two, whichever is faster; "lightning" is its
Trainer with the DataLoader without workers. Both have PyTorch's own norm. "The same norm" is bnlab with that norm
too, so that only loop and batches differ.

bnlab keeps images as tensors and augments a batch at once. That is worth the more, the less time the network itself
takes for an image: much for a perceptron, little where convolutions or attention take nearly all of the time.
"""

COHORTS = """
## Runs together

Runs that differ in numbers only can be trained as one program with stacked tensors (`sweep.engine=vectorized`). Every
network of bnlab and every optimizer can, residual nets and Muon too, with every norm but `batch_torch`; not with
`model.skip_padding=true` or `train.precision=bfloat16`. `sweep.engine=auto`, the default, does so for perceptrons
(`model=mlp`) and recurrent nets that are small enough to be faster together, by the rule in
`bnlab/sweeps/cohorts.py`, and trains all others one by one.

Are they the runs that they would have been alone? `scripts/bench_cohorts.py` trains three runs on `digits` for
{steps} steps both ways. The table has the largest difference of a loss, as a share of the loss, and of a parameter or
buffer, as a share of the largest value of its tensor (or of a thousandth of the network's largest value, if that is
more). In float64 all are below 1e-8, and tests hold that. In float32 rounding is 1e-7, and training may magnify it:
where a ReLU switches in one of the two, or where Adam's rule, to which Muon leaves biases and the first layer,
divides one rounding by another.

"Speed" is that of a run among {together} together over that of one alone, in float32 on images of 8x8 pixels:
{machine}; medians of {rounds} rounds in turn. Convolutions of images of 28x28 pixels, and wide layers, gain nothing.
"""


RECIPE = """
## CIFAR-10 against seconds

`scripts/bench_recipe.py` trains `recipe=cifar10_fast train.epochs={epochs}` with four norms: {machine}.
Each norm has the learning rate that was best by validation accuracy after {tuning_epochs} epoch, with a seed of its
own, and worse neighbors at half and twice the rate. Seconds are the processor's, everything counted, from the start
of Python to the last validation; accuracies are those of one seed.

![Validation accuracy over seconds, for four norms](cifar10-fast.svg)
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Args:
        heads: Of the columns.
        rows: The cells of each row.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def share(figure: dict[str, Any]) -> str:
    """Return a median with its quartiles as percent."""
    low, high = figure["quartiles"]
    return f"{figure['median']:.0%} ({low:.0%} to {high:.0%})"


def ratio(figure: dict[str, Any]) -> str:
    """Return a median with its quartiles."""
    low, high = figure["quartiles"]
    return f"{figure['median']:.2g} ({low:.2g} to {high:.2g})"


def machine(kept: dict[str, Any]) -> str:
    """Return where something was measured."""
    threads = "one thread" if kept["threads"] == 1 else f"{kept['threads']} threads"
    return f"{kept['hardware']['processor']}, {threads}, torch {kept['versions']['torch']}"


def of_models(kept: dict[str, Any]) -> str:
    """Return the part about whole networks."""
    norms, others = [], []
    for model, row in kept["rows"].items():
        for norm, found in row["norms"].items():
            in_norms = "" if norm == "none" else share(found["in_norms"])
            norms.append(
                [f"`{model}`", f"`{norm}`", f"{found['images_per_s']:,.0f}", in_norms, share(found["reached"])]
            )
        for peer, found in row["peers"].items():
            name = f"plain, {row['workers']} workers" if peer == "plain" else peer
            ratios = [ratio(found[key]) for key in ("bnlab_is_times_as_fast", "with_the_same_norm")]
            others.append([f"`{model}`", f"`{row['compared']}`", name, f"{found['images_per_s']:,.0f}", *ratios])
    facts = {"batch_size": kept["batch_size"], "rounds": kept["rounds"], "machine": machine(kept)}
    return (
        MODELS.format(**facts)
        + table(["model", "norm", "images/s", "in norms", "reached"], norms)
        + PEERS
        + table(
            ["model", "norm", "peer", "images/s of the peer", "bnlab is times as fast", "with the same norm"], others
        )
    )


def of_cohorts(kept: dict[str, Any]) -> str:
    """Return the part about runs that are trained together."""
    rows = []
    for name, row in kept["rows"].items():
        *network, optimizer = name.split(", ")
        parts = [(dtype, part) for dtype in ("float64", "float32") for part in ("losses", "parameters")]
        cells = [f"{row['difference'][dtype][part]:.0e}" for dtype, part in parts]
        rows.append([", ".join(network), optimizer, *cells, ratio(row["speed"])])
    heads = ["losses, float64", "parameters, float64", "losses, float32", "parameters, float32", "speed"]
    facts = {"steps": kept["steps"], "together": kept["together"], "rounds": kept["rounds"], "machine": machine(kept)}
    return COHORTS.format(**facts) + table(["network, norm", "optimizer", *heads], rows)


def of_recipe(kept: dict[str, Any]) -> str:
    """Return the part about the recipe for CIFAR-10."""
    rows = []
    for norm, found in kept["norms"].items():
        seeds = found["seeds"]
        reached = [first_seconds(seed["points"], target) for seed in seeds for target in (0.8, 0.85)]
        tests = ", ".join(f"{seed['test_accuracy']:.1%}" for seed in seeds)
        rows.append([f"`{norm}`", f"{found['lr']:g}", *reached, tests, f"{seeds[0]['cpu_s']:.0f}"])
    facts = {name: kept[name] for name in ("epochs", "tuning_epochs")}
    heads = ["norm", "learning rate", "s to 80%", "s to 85%", "test accuracy", "s in all"]
    return RECIPE.format(machine=machine(kept), **facts) + table(heads, rows)


def first_seconds(points: Sequence[Sequence[float]], target: float) -> str:
    """Return the seconds of the first validation with an accuracy of a target or more; "never" without one."""
    return next((f"{seconds:.0f}" for _, seconds, accuracy in points if accuracy >= target), "never")


def page() -> str:
    """Return the whole page."""
    names = ("models", "recipe", "cohorts")
    models, recipe, cohorts = (json.loads((BENCHES / f"{name}.json").read_text("utf-8")) for name in names)
    return HEAD + of_models(models) + of_recipe(recipe) + of_cohorts(cohorts)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/speed.md is not up to date: run python scripts/write_speed.py")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
