"""The card of a verdict, in the terminal."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, duration, new_table, print_table

if TYPE_CHECKING:
    from bnlab.stats.estimate import Estimate
    from bnlab.stats.power import SeedsNeeded
    from bnlab.studies.judging import Judged, Planned
    from bnlab.studies.tunability import Tunability

COLORS = {"supported": "bold green", "refuted": "bold red", "inconclusive": "bold yellow"}
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
    card.add_row("holds in", Text(_stress(stress.agree, stress.of, stress.flips)))
    if change := _what_would_change(judged):
        card.add_row("to change it", Text(change))
    OUT.print(card)
    for sentence in judged.sentences:
        OUT.print(Text(sentence, "dim"), width=min(OUT.width, MOST_WIDTH))


def print_plan(planned: "Planned") -> None:
    """Print how many seeds a verdict needs, and how long they train."""
    judged = planned.judged
    card = _card()
    card.add_row("claim", Text(planned.claim))
    card.add_row("seeds", Text(_seeds(planned, planned.needed)))
    if planned.at_seen is not None and planned.at_seen.effect != planned.needed.effect:
        card.add_row("", Text(_seeds(planned, planned.at_seen) + ", the effect of these runs"))
    card.add_row("there are", Text(f"{planned.needed.pilot} pairs: {judged.verdict.verdict} so far"))
    card.add_row(
        "time",
        Text(
            f"{duration(planned.seconds_per_seed)} of training per seed, both arms and all learning rates, one after "
            "the other"
        ),
    )
    OUT.print(card)
    for sentence in judged.sentences:
        OUT.print(Text(sentence, "dim"), width=min(OUT.width, MOST_WIDTH))


def print_tunability(found: "Tunability") -> None:
    """Print the expected test accuracy of each arm by its tuning budget, and which hyperparameters must be tuned."""
    budgets = sorted({budget for arm in found.arms for budget in arm.by_budget})
    columns = [f"{budget} tried" if budget > 1 else "1 tried" for budget in budgets]
    table = new_table("arm", *columns, "enough", "must be tuned", right=[*columns, "enough"])
    for arm in found.arms:
        cells = [_share(arm.by_budget.get(budget)) for budget in budgets]
        names = ", ".join(name.rpartition(".")[2] for name in arm.dimension.names) or "nothing"
        table.add_row(Text(arm.label), *cells, str(arm.budget), f"{arm.dimension.number}: {names}")
    print_table(table)
    OUT.print(
        Text(
            "Test accuracy to be expected, with half the width of its interval over seeds. enough: settings tried at "
            "random that come within 1 point of trying all. must be tuned: for 95% of the way from start to best."
        ),
        style="dim",
        width=min(OUT.width, MOST_WIDTH),
    )
    for sentence in found.sentences:
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
    judged = planned.judged
    effect = _amount(judged, judged.shown(needed.effect))
    if needed.seeds is None:
        return f"more than 1,000 for an effect of {effect} (chance with 1,000: {needed.power:.0%})"
    minutes = planned.minutes(needed)
    assert minutes is not None
    return f"{needed.seeds} for an effect of {effect} (chance {needed.power:.0%}), {duration(60 * minutes)} of training"


def _effect(judged: "Judged") -> str:
    verdict = judged.verdict
    if verdict.effect is None:
        return "not known"
    bound = {"at_least": "at least ", "at_most": "at most "}
    side = next((side for side in judged.pairs.sides if side != "exact"), "exact")
    text = bound.get(side, "") + _amount(judged, judged.shown(verdict.effect), signed=True)
    if verdict.low is None and verdict.high is None:
        return f"{text}, without an interval"
    low, high = (
        open_end if end is None else _number(judged, judged.shown(end))
        for end, open_end in ((verdict.low, "no bound"), (verdict.high, "no bound"))
    )
    return f"{text} [{low}, {high}], {verdict.n} pairs of runs with the same seed"


def _number(judged: "Judged", value: float | None) -> str:
    assert value is not None
    if judged.quantity.kind == "test_accuracy":
        return f"{100 * value:.2f}"
    return f"{value:.3g}"


def _amount(judged: "Judged", value: float | None, *, signed: bool = False) -> str:
    assert value is not None
    sign = "+" if signed and value > 0 and judged.quantity.scale == "difference" else ""
    number = sign + _number(judged, value)
    if judged.quantity.kind == "test_accuracy":
        return f"{number} points"
    return f"{number} {judged.quantity.unit}".strip()


def _means(judged: "Judged") -> str:
    parts = []
    for arm, values in zip(judged.arms, (judged.pairs.first, judged.pairs.second), strict=True):
        known = [value for value in values if value is not None]
        if not known:
            parts.append(f"{arm.label} -")
            continue
        mean = sum(known) / len(known)
        text = f"{100 * mean:.2f}%" if judged.quantity.kind == "test_accuracy" else f"{mean:.4g}"
        parts.append(f"{arm.label} {text}")
    return " · ".join(parts)


def _how(judged: "Judged") -> str:
    kind = judged.quantity.kind
    at = ""
    if judged.pairs.rates is not None:
        first, second = judged.pairs.rates
        at = f", at learning rate {first:g} and {second:g}" if first != second else f", both at learning rate {first:g}"
    what = {
        "test_accuracy": "test set at the end of training",
        "test_loss": "test set at the end of training",
        "steps_to": "first validation at or above the target",
        "seconds_to": "seconds in optimizer steps up to there, without evaluations",
        "max_lr": "largest learning rate that trains, on a grid known to one step",
        "diagnostic": "last value of the run",
    }[kind]
    looks = f"; {judged.verdict.looks} looks planned" if judged.verdict.looks > 1 else ""
    p = "" if judged.verdict.p is None else f"; exact sign-flip p {judged.verdict.p:.2g}"
    return f"{what}{at}{p}{looks}"


def _stress(agree: int, of: int, flips: tuple[str, ...]) -> str:
    text = f"{agree} of {of} analyses of the same runs"
    if not flips:
        return text
    named = "; ".join(flips[:MOST_FLIPS])
    more = f"; {len(flips) - MOST_FLIPS} more" if len(flips) > MOST_FLIPS else ""
    return f"{text}. It flips {named}{more}."


def _what_would_change(judged: "Judged") -> str:
    """Return for which smallest effects of interest the verdict would be the same, or how many seeds are needed."""
    from bnlab.errors import StudyError
    from bnlab.studies.judging import plan_seeds

    verdict = judged.verdict
    if verdict.verdict == "supported" and verdict.low is not None:
        return f"a smallest effect of interest of {_amount(judged, judged.shown(verdict.low))} or more"
    if verdict.verdict == "refuted" and verdict.high is not None:
        least = 1.0 if judged.quantity.scale == "ratio" else 0.0
        high = judged.shown(verdict.high)
        assert high is not None
        if high <= least:
            return "nothing: the first arm is not better at all"
        return f"a smallest effect of interest below {_amount(judged, high)}"
    try:
        planned = plan_seeds(judged)
    except StudyError:
        return ""
    if planned.needed.seeds is None:
        return "more than 1,000 seeds"
    if planned.needed.seeds <= verdict.n:
        return ""
    return f"{planned.needed.seeds} seeds, if the effect is {_amount(judged, judged.shown(planned.needed.effect))}"
