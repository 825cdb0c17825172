"""Measure the error rates of verdicts on simulated studies, and write docs/verdicts.md and its figure.

    python scripts/simulate_verdicts.py            # minutes; writes the page, the figure and the results
    python scripts/simulate_verdicts.py --text     # write the page and the figure from the results that are kept
    python scripts/simulate_verdicts.py --check    # fail if the page is not what these results say

Simulated are differences between two arms, one per seed, with a known true mean. The results are in
scripts/bench_results/verdicts.json. Seeds are fixed: the same versions give the same figures.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import stats

from bnlab import provenance
from bnlab.report.palette import COLORS
from bnlab.report.style import paper
from bnlab.stats.mean_interval import interval_of_means
from bnlab.stats.power import seeds_needed
from bnlab.stats.verdict import words_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "verdicts.md"
FIGURE = ROOT / "docs" / "verdicts.svg"
RESULTS = ROOT / "scripts" / "bench_results" / "verdicts.json"

NUM_STUDIES = 40_000
NUM_BOOTSTRAPPED = 2_000
"""Studies and resamples for BCa, which takes a thousand times as long."""

SEEDS = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20)
LOOKS = {"5, 10, 20": (5, 10, 20), "3, 6, 12, 24": (3, 6, 12, 24), "every one from 3 to 20": tuple(range(3, 21))}
PILOTS = (3, 5, 10)

Array = npt.NDArray[np.float64]

KINDS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (t, 3 degrees of freedom)": lambda rng, shape: rng.standard_t(3, shape),
    "moderately skewed (gamma, shape 4)": lambda rng, shape: rng.gamma(4, size=shape) / 2 - 2,
    "skewed (log-normal, sigma 0.5)": lambda rng, shape: np.exp(0.5 * rng.standard_normal(shape)) - np.exp(0.125),
    "very skewed (exponential)": lambda rng, shape: rng.exponential(size=shape) - 1,
    "one run in ten far off": lambda rng, shape: 0.1 * rng.standard_normal(shape) + (rng.random(shape) < 0.1) - 0.1,
}
"""Differences with the true mean 0. The long tail of a skewed one is above, so that its upper end is the worse one."""


def student(x_RS: Array) -> tuple[Array, Array]:
    """Return the ends of Student's interval of 95%."""
    n = x_RS.shape[1]
    half_R = stats.t.ppf(0.975, n - 1) * x_RS.std(1, ddof=1) / np.sqrt(n)
    return x_RS.mean(1) - half_R, x_RS.mean(1) + half_R


def bca(x_RS: Array) -> tuple[Array, Array]:
    """Return the ends of the BCa bootstrap's interval of 95%."""
    ends = stats.bootstrap(
        (x_RS,), np.mean, axis=1, n_resamples=NUM_BOOTSTRAPPED, batch=100, rng=np.random.default_rng(0)
    ).confidence_interval
    return ends.low, ends.high


METHODS: Mapping[str, tuple[Callable[[Array], tuple[Array, Array]], int]] = {
    "Student": (student, NUM_STUDIES),
    "BCa": (bca, NUM_BOOTSTRAPPED),
    "bnlab": (interval_of_means, NUM_STUDIES),
}


def worse_ends() -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> method -> number of seeds -> the share of studies whose worse end misses the true mean."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, draw in KINDS.items():
        for method, (interval, num) in METHODS.items():
            for n in SEEDS:
                low_R, high_R = interval(draw(np.random.default_rng(n), (num, n)))
                missed = max(float(np.mean(low_R > 0)), float(np.mean(high_R < 0)))
                found.setdefault(kind, {}).setdefault(method, {})[str(n)] = missed
    return found


def wrong_after_looks() -> dict[str, dict[str, float]]:
    """Return kind -> looks -> the share of studies that any look calls supported or refuted; the worse of the two."""
    found: dict[str, dict[str, float]] = {}
    for kind, draw in KINDS.items():
        for name, looks in LOOKS.items():
            x_RS = draw(np.random.default_rng(1), (NUM_STUDIES, looks[-1]))
            words = np.array([words_of(x_RS[:, :n], 0.0, len(looks)) for n in looks])
            found.setdefault(kind, {})[name] = max(float((words > 0).any(0).mean()), float((words < 0).any(0).mean()))
    return found


def found_as_planned() -> dict[str, dict[str, float]]:
    """Return size of the pilot -> kind -> the share of studies that find an effect of twice the smallest of interest.

    Deviations are 0.5 to 2 smallest effects; each study has the number of seeds that `bnlab power` names for its pilot.
    """
    found: dict[str, dict[str, float]] = {}
    kinds = {kind: draw for kind, draw in KINDS.items() if kind != "one run in ten far off"}
    for num in PILOTS:
        for kind, draw in kinds.items():
            rng = np.random.default_rng(num)
            share = []
            for sigma in np.tile([0.5, 1.0, 2.0], 40):
                pilot = sigma * draw(rng, (1, num))[0]
                seeds = seeds_needed(pilot.tolist(), sesoi=1.0).seeds or 1000
                share.append(np.mean(words_of(2 + sigma * draw(rng, (200, seeds)), 1.0) > 0))
            found.setdefault(str(num), {})[kind] = float(np.mean(share))
    return found


def least_effects() -> dict[str, float]:
    """Return number of seeds -> by how much the effect must be larger than with Student's interval, for 80% power.

    Of normal differences.
    """
    found = {}
    for n in (5, 10, 20):
        z_RS = np.random.default_rng(n).standard_normal((NUM_STUDIES, n))
        # an interval moves along with its values: it lies above 0 from an effect of minus its lower end on
        effects = [float(np.quantile(-interval(z_RS)[0], 0.8)) for interval in (interval_of_means, student)]
        found[str(n)] = effects[0] / effects[1]
    return found


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(results: Mapping[str, Any]) -> str:
    """Return the page."""
    ends = results["worse_ends"]
    rows = [
        [kind if place == 0 else "", method, *(percent(ends[kind][method][str(n)]) for n in SEEDS)]
        for kind in ends
        for place, method in enumerate(METHODS)
    ]
    looks = [[kind, *(percent(share) for share in of.values())] for kind, of in results["looks"].items()]
    kinds = list(results["power"][str(PILOTS[0])])
    power = [[kind, *(percent(results["power"][str(num)][kind]) for num in PILOTS)] for kind in kinds]
    return TEXT.format(
        num_studies=f"{NUM_STUDIES:,}",
        num_bca=f"{NUM_BOOTSTRAPPED:,}",
        ends=table(["differences", "method", *(f"n = {n}" for n in SEEDS)], rows),
        looks=table(["differences", *(f"looks after {name} seeds" for name in LOOKS)], looks),
        power=table(["differences", *(f"pilot of {num}" for num in PILOTS)], power),
        five=f"{results['least_effects']['5']:.2f}",
        ten=f"{results['least_effects']['10']:.2f}",
        twenty=f"{results['least_effects']['20']:.2f}",
        versions=results["versions"],
    )


TEXT = """# How a verdict is reached, and how often it is wrong

`bnlab judge` answers a claim, "the first arm is better than the second by more than X", with *supported*, *refuted*
or *inconclusive*. `bnlab.judge(differences, sesoi=X)` is the same for numbers of your own. This page is written by
`scripts/simulate_verdicts.py` from simulated studies.

## The rule

1. One difference per seed: both arms begin with the same weights and see the same batches, so that what a seed adds
   to both cancels. Steps and learning rates are compared by their ratio, on the log scale.
2. A run that diverged, or ended worse than it began, counts with the figure of its start. It is never left out. A
   pair with a run that *failed* is left out, and the card says so.
3. An interval of the mean difference: the union of Student's interval and Hall's, which corrects for skewness, 95%
   from 9 seeds on, 98% below. Cards and pages name it beside each interval: *paired Student's t and Hall*, *of logs*
   for ratios, *each end from bounds* for 5, *Bonferroni over K* where looks or conditions share the error.
4. *Supported*: the interval lies above X. *Refuted*: it lies below X. Else *inconclusive*, also with fewer than 3
   seeds. X is the smallest effect of interest, fixed before looking: 1 point of accuracy (half a point on CIFAR), 1.25
   times the steps, 3 times the learning rate, unless you say otherwise.
5. Where a figure is known between bounds only, each pair counts at its unfavorable end: the lower end of the interval
   is that of the least differences that are possible, the upper end that of the greatest. Steps to a target are known
   to the distance of two validations, the largest rate that trains to one step of the grid; a run that did not reach
   the target has no upper bound, and of a diagnostic of a run that diverged nothing is known.
6. With K looks at growing data (`--looks K`), each look is allowed 0.04 / K of error in place of 0.05.
7. The same runs are judged again under each other analysis that an honest colleague might have chosen (validation or
   test images, the last or the best step, half of the steps, accuracy or loss, tuned or equal learning rates, mean or
   median, one seed left out). Of the other figure, loss for accuracy, any difference counts, since X has the unit of
   the first. The card says in how many of them the verdict holds, and what turns it over.

## How often one end of the interval misses the true mean

In percent of {num_studies} studies ({num_bca} for BCa); the worse of the two ends. 2.5% is what Student's interval
promises for normal differences. A false *supported* or *refuted* for arms that are equal is at most as frequent as
this.

{ends}

![How often the worse end of each interval misses the mean, against the number of seeds](verdicts.svg)

- Student's interval misses too often where differences are skewed. BCa, which is often recommended from 15 seeds
  on, misses more often than it for normal differences at each of these numbers, and for skewed ones below 12 seeds;
  from 15 on it is about as good as Student's for them, or better. bnlab's stays at or below 5% down to 3 seeds, for
  differences as skewed as an exponential.
- The last kind shows the limit of every method that looks at these numbers alone: one run in ten of an arm ends far
  below the others. With few seeds most samples hold no such run, and nothing in them tells of it. Where runs fail
  to train now and then, take 20 seeds, and read the single values (`--json`).
- The price: of normal differences, an effect must be {five} times as large as with Student's interval to be found
  in 80% of the studies with 5 seeds, {ten} times with 10, {twenty} times with 20.

## Looking more than once

In percent of {num_studies} studies with equal arms: how often any of the looks says *supported* (or *refuted*; the
more frequent).

{looks}

## Seeds as planned

`bnlab power` names the seeds with which an effect of twice the smallest one of interest is found in 80% of the
cases. In percent of simulated studies that had the number of seeds named for their own pilot; the pilots' true
deviations were 0.5, 1 and 2 times the smallest effect of interest (times that of the distribution).

{power}

A plan assumes normal differences, and takes into account how little a small pilot knows of the deviation. Where
differences have heavy tails or are very skewed, a pilot often shows too small a deviation, and fewer studies than
planned may find the effect: take more seeds there.

*Made with {versions}.*
"""


def draw(results: Mapping[str, Any]) -> None:
    """Draw the misses of each method against the number of seeds."""
    kinds = list(results["worse_ends"])
    with paper():
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey=True)
        for ax, kind in zip(axes.flat, kinds, strict=True):
            for color, (method, of) in zip(COLORS, results["worse_ends"][kind].items(), strict=False):
                ax.plot(SEEDS, [100 * of[str(n)] for n in SEEDS], color=color, label=method, marker="o", markersize=3)
            ax.axhline(2.5, color="0.6", linewidth=0.8, linestyle=":")
            ax.set_title(kind, fontsize=9)
            ax.set_ylim(0, 46)
        for ax in axes[-1]:
            ax.set_xlabel("seeds")
        for ax in axes[:, 0]:
            ax.set_ylabel("missed, percent")
        axes[0, 0].legend(frameon=False)
        figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    """Simulate and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the page with the results that are kept")
    parser.add_argument("--text", action="store_true", help="write the page and the figure from the kept results")
    options = parser.parse_args()
    if options.text:
        results = json.loads(RESULTS.read_text("utf-8"))
        PAGE.write_text(page(results), encoding="utf-8")
        draw(results)
        return
    if options.check:
        if PAGE.read_text("utf-8") != page(json.loads(RESULTS.read_text("utf-8"))):
            sys.exit(f"{PAGE} is not what {RESULTS} says: run scripts/simulate_verdicts.py")
        return
    versions = provenance.versions_of_distributions(["numpy", "scipy"])
    results = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "num_studies": NUM_STUDIES,
        "worse_ends": worse_ends(),
        "looks": wrong_after_looks(),
        "least_effects": least_effects(),
        "power": found_as_planned(),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    draw(results)


if __name__ == "__main__":
    main()
