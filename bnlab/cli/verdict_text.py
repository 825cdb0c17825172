"""The card of a verdict, in the terminal."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, duration, new_table, print_table

if TYPE_CHECKING:
    from bnlab.stats.estimate import Estimate
    from bnlab.stats.power import SeedsNeeded
    from bnlab.studies.judged import Judged
    from bnlab.studies.planning import Planned
    from bnlab.studies.tunability import Tunability

COLORS = {"supported": "bold green", "refuted": "bold magenta", "inconclusive": "bold yellow"}
"""Red is the color of errors alone: that a claim did not hold is a result."""

MOST_WIDTH = 100
"""Columns: longer lines are hard to read."""

MOST_FLIPS = 6
"""Analyses with another verdict that are named."""


def print_judged(judged: "Judged") -> None:
    """Print the claim, the verdict, the effect, how it came about, and what would turn it over."""
    verdict, stress = judged.verdict, judged.stress
    card = _card()
    card.add_row("claim", Text(judged.claim))
    word = Text(verdict.verdict.upper(), COLORS[verdict.verdict])
    card.add_row("verdict", Text.assemble(word, f"  {verdict.reason}" if verdict.reason else ""))
    card.add_row("effect", Text(_effect(judged)))
    card.add_row("means", Text(_means(judged)))
    card.add_row("how", Text(_how(judged)))
    card.add_row("runs", Text(_runs(judged)))
    if stress.of:
        card.add_row("holds in", Text(_stress(stress.agree, stress.of, stress.flips)))
    if judged.to_change:
        card.add_row("to change it", Text(judged.to_change))
    OUT.print(card)
    _print_sentences(judged.sentences)


def print_plan(planned: "Planned") -> None:
    """Print how many seeds a verdict needs, and how long they train."""
    from bnlab.studies.planning import plan_as_seen

    judged = planned.judged
    as_seen = plan_as_seen(planned)
    card = _card()
    card.add_row("claim", Text(judged.claim))
    card.add_row("seeds", Text(_seeds(planned, planned.needed)))
    if as_seen is not None:
        card.add_row("", Text(_seeds(planned, as_seen) + ", the effect of these runs"))
    seen = judged.amount(judged.verdict.effect, signed=True)
    so_far = f"{planned.needed.pilot} pairs: {judged.verdict.verdict} so far, with an effect of {seen}"
    card.add_row("there are", Text(so_far))
    per_seed = f"{duration(planned.seconds_per_seed)} of training per seed"
    card.add_row("time", Text(f"{per_seed}, both arms and all learning rates, one run after the other"))
    OUT.print(card)
    _print_sentences(judged.sentences)


def print_tunability(found: "Tunability") -> None:
    """Print the expected test accuracy of each arm by its tuning budget, and which hyperparameters must be tuned."""
    budgets = sorted({budget for arm in found.arms for budget in arm.by_budget})
    columns = [f"{budget} tried" if budget > 1 else "1 tried" for budget in budgets]
    table = new_table("arm", *columns, "enough", "must be tuned", right=[*columns, "enough"])
    for arm in found.arms:
        cells = [_share(arm.by_budget.get(budget)) for budget in budgets]
        needs = "-"
        if arm.dimension is not None:
            names = ", ".join(name.rpartition(".")[2] for name in arm.dimension.names) or "nothing"
            needs = f"{arm.dimension.number}: {names}"
        table.add_row(Text(arm.label), *cells, str(arm.budget), needs)
    print_table(table)
    OUT.print(
        Text(
            "Test accuracy to be expected, with half the width of its 95% interval over seeds (Student's t). enough: "
            "settings tried at random that come within 1 point of trying all. must be tuned: for 95% of the way from "
            "start to best."
        ),
        style="dim",
        width=min(OUT.width, MOST_WIDTH),
    )
    _print_sentences(found.sentences)


def _print_sentences(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        OUT.print(Text(sentence, "dim"), width=min(OUT.width, MOST_WIDTH))


def _share(estimate: "Estimate | None") -> str:
    if estimate is None:
        return ""
    half = "" if estimate.low is None else f" ±{100 * (estimate.value - estimate.low):.1f}"
    return f"{100 * estimate.value:.1f}%{half}"


def _card() -> Table:
    card = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, width=min(OUT.width, MOST_WIDTH))
    card.add_column(style="dim", no_wrap=True)
    card.add_column(overflow="fold")
    return card


def _seeds(planned: "Planned", needed: "SeedsNeeded") -> str:
    effect = planned.judged.amount(needed.effect)
    if needed.seeds is None:
        return f"more than 1,000 for an effect of {effect} (chance with 1,000: {needed.power:.0%})"
    minutes = planned.minutes(needed)
    assert minutes is not None
    return f"{needed.seeds} for an effect of {effect} (chance {needed.power:.0%}), {duration(60 * minutes)} of training"


def _effect(judged: "Judged") -> str:
    verdict = judged.verdict
    if verdict.effect is None:
        return "not known"
    ends = [math.isinf(end) for bracket in judged.pairs.brackets for end in bracket]
    bound = "at least " if any(ends[1::2]) else "at most " if any(ends[::2]) else ""
    text = bound + judged.amount(verdict.effect, signed=True)
    if verdict.low is None and verdict.high is None:
        return f"{text}, without an interval"
    low, high = ("no bound" if end is None else judged.number(end) for end in (verdict.low, verdict.high))
    assert verdict.level is not None  # there is an interval
    made = f"{judged.method}, {100 * verdict.level:.3g}%"
    return f"{text} [{low}, {high}] ({made}), {verdict.n} pairs of runs with the same seed"


def _means(judged: "Judged") -> str:
    parts = []
    for arm, figures in zip(judged.arms, (judged.pairs.first, judged.pairs.second), strict=True):
        known = [figure for figure in figures if figure is not None and figure.is_known]
        if not known:
            parts.append(f"{arm.label} not known")
            continue
        values = [figure.value for figure in known]
        is_ratio = judged.quantity.scale == "ratio"
        mean = statistics.geometric_mean(values) if is_ratio else statistics.fmean(values)
        bound = "at least " if any(math.isinf(figure.greatest) for figure in known) else ""
        percent = " points" if judged.quantity.kind == "lr_sensitivity" else "%"  # points of accuracy that are lost
        text = f"{100 * mean:.2f}{percent}" if judged.quantity.is_share else f"{mean:.4g}"
        parts.append(f"{arm.label} {bound}{text}")
    return " · ".join(parts)


def _how(judged: "Judged") -> str:
    kind = judged.quantity.kind
    at = "" if judged.pairs.rates is None else _at(*judged.pairs.rates, judged.rates)
    what = {
        "test_accuracy": "test set at the end of training",
        "test_loss": "test set at the end of training",
        "steps_to": "first validation at or above the target",
        "seconds_to": "seconds in optimizer steps up to there, without evaluations",
        "max_lr": "largest learning rate that trains, within 5 points of the better arm's best accuracy; the truth is "
        "up to one step of the grid larger",
        "area": "mean validation accuracy over all steps",
        "lr_sensitivity": "mean distance of the validation accuracy from the best one, over all learning rates",
        "width": f"range of {judged.quantity.key} that trains, within 5 points of the better arm's best accuracy; the "
        "truth is up to one step of the grid wider at each end",
        "diagnostic": "mean over all measured steps" if judged.quantity.is_mean else "last value of the run",
    }[kind]
    looks = f"; {judged.verdict.looks} looks planned" if judged.verdict.looks > 1 else ""
    return f"{what}{at}{_exact_p(judged)}{looks}"


def _at(first: float, second: float, how: str) -> str:
    """Return at which learning rates the arms are compared; one at which nothing is learned is no training."""
    from bnlab.report.wording import is_without_training

    if is_without_training(max(first, second)):
        rates = f"{first:g}" if first == second else f"{first:g} and {second:g}"
        return f", not trained: learning rate {rates}"
    if first == second:
        return f", both at learning rate {first:g} ({how})"
    named = [f"{rate:g} (not trained)" if is_without_training(rate) else f"{rate:g}" for rate in (first, second)]
    return f", at learning rate {named[0]} and {named[1]} ({how})"


def _exact_p(judged: "Judged") -> str:
    """Return the p of the sign-flip test, with the least one that so many seeds allow; empty where there is none."""
    from bnlab.stats.sign_flip import least_p

    verdict = judged.verdict
    if verdict.p is None:
        return ""
    effect, seeds = judged.amount(verdict.sesoi), "1 seed allows" if verdict.n == 1 else f"{verdict.n} seeds allow"
    least = f"the smallest value that {seeds} is {least_p(verdict.n):.3g}"
    return f"; exact sign-flip p of an effect of {effect}: {verdict.p:.3g} ({least})"


def _runs(judged: "Judged") -> str:
    """Return which runs are compared: the sweep, what they share, and the conditions."""
    facts = judged.facts
    length = "train.epochs" if facts.get("train.steps") is None else "train.steps"
    words = [f"{name}={facts[name]}" for name in ("data", "model", length) if facts.get(name) is not None]
    where = f", where {' and '.join(judged.where)}" if judged.where else ""
    return f"{judged.folder.name}: {', '.join(words)}{where}" if words else f"{judged.folder.name}{where}"


def _stress(agree: int, of: int, flips: tuple[str, ...]) -> str:
    text = f"{agree} of {of} analyses of the same runs"
    if not flips:
        return text
    named = "; ".join(flips[:MOST_FLIPS])
    more = f"; {len(flips) - MOST_FLIPS} more" if len(flips) > MOST_FLIPS else ""
    return f"{text}. It flips {named}{more}."
