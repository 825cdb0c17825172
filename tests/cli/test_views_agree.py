"""Table, lr-sensitivity and dashboard name the same best rates, outcomes and missing runs, whatever is missing."""

import contextlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from written_runs import write_runs

from bnlab.cli.sweep_tables import print_sweep
from bnlab.loggers.tensorboard.sweep_dashboard import write_sweep_dashboard
from bnlab.report.lr_sensitivity.summary import read_sensitivity
from bnlab.sweeps.execute import SweepResult

NORMS, LRS, SEEDS = ("batch", "none"), (0.1, 0.3, 1.0), (0, 1, 2)
START = 2.3

Place = tuple[str, float, int]
Runs = dict[Place, dict[str, Any] | None]
Best = tuple[float | None, float]
"""The best rate, and the mean validation loss there."""

RUN = st.one_of(
    st.integers(1, 200).map(lambda loss: {"loss": loss / 100}),
    st.integers(1, 200).map(lambda loss: {"loss": loss / 100}),
    st.integers(1, 200).map(lambda loss: {"loss": loss / 100}),
    st.just({"loss": 7.0}),  # worse than its start
    st.just({"loss": 0.001, "status": "diverged"}),
    st.sampled_from([{"status": "failed"}, {"status": "interrupted"}, None]),
)
RUNS = st.fixed_dictionaries({(norm, lr, seed): RUN for norm in NORMS for lr in LRS for seed in SEEDS})


@st.composite
def sweeps(draw: st.DrawFn) -> Runs:
    """Runs some of which are missing: here and there, and every run of some rates of an arm, or of some seeds."""
    rates = draw(st.sets(st.sampled_from([(norm, lr) for norm in NORMS for lr in LRS]), max_size=2))
    seeds = draw(st.sets(st.sampled_from([(norm, seed) for norm in NORMS for seed in SEEDS]), max_size=2))
    how = draw(st.sampled_from([{"status": "failed"}, None]))
    return {
        (norm, lr, seed): how if (norm, lr) in rates or (norm, seed) in seeds else run
        for (norm, lr, seed), run in draw(RUNS).items()
    }


def outcome_by_hand(run: dict[str, Any] | None) -> float | None:
    if run is None or run.get("status") in {"failed", "interrupted"}:
        return None
    return START if run.get("status") == "diverged" else min(run["loss"], START)


def best_by_hand(runs: Runs, norm: str) -> Best | None:
    table = {lr: {s: outcome_by_hand(runs[norm, lr, s]) for s in SEEDS} for lr in LRS}
    known = {lr: {s: loss for s, loss in row.items() if loss is not None} for lr, row in table.items()}
    known = {lr: row for lr, row in known.items() if row}
    complete = [s for s in SEEDS if all(s in row for row in known.values())]
    used = {lr: [row[s] for s in complete or row] for lr, row in known.items()}
    if not used:
        return None
    means = {lr: round(sum(losses) / len(losses), 9) for lr, losses in used.items()}
    lr = min(means, key=lambda lr: (means[lr], lr))
    return (None if all(loss == START for losses in used.values() for loss in losses) else lr), means[lr]


def missing_by_hand(runs: Runs) -> set[str]:
    """The missing runs in words; only those of arms, rates and seeds of which some run has a folder."""
    there = [place for place, run in runs.items() if run is not None]
    norms, lrs, seeds = ({place[i] for place in there} for i in range(3))
    return {
        f"{norm} at {lr:g}, seed {seed}: {'not there' if run is None else run['status']}"
        for (norm, lr, seed), run in runs.items()
        if outcome_by_hand(run) is None and norm in norms and lr in lrs and seed in seeds
    }


def number(text: str) -> float | None:
    return None if text.startswith("none") else float(text.split()[0])


def read_table(folder: Path) -> tuple[dict[str, Best], str]:
    """Read the table of the best rates; the cell of a loss ends where its heading ends."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_sweep(SweepResult(folder, [], {}))
    _, best, below = printed.getvalue().partition("best lr")
    before = printed.getvalue().partition(best)[0].rpartition("\n")[2]
    heading, *lines = (before + best + below).splitlines()
    end = heading.index("validation loss") + len("validation loss") if "validation loss" in heading else 0
    is_row = re.compile(r" ?(batch|none) +(none|-|[\d.]+) ")
    bests: dict[str, Best] = {}
    for line in lines:
        found = is_row.match(line)
        if found and found[2] != "-":
            loss = re.split(r" {2,}", line[:end].rstrip())[-1].partition(" ")[0]
            bests[found[1]] = number(found[2]), float(loss)
    return bests, below


def read_json(folder: Path) -> tuple[dict[str, Best], list[str], str]:
    facts = json.loads(json.dumps(read_sensitivity(folder).as_dict(), allow_nan=False))
    bests = {arm["arm"]: arm["best"] for arm in facts["arms"] if arm["best"] is not None}
    for arm in facts["arms"]:
        if arm["figures"] is not None:  # the statistics of the curve, which choose for themselves
            figure, best = arm["figures"]["best_by_loss"], bests[arm["arm"]]
            assert figure["value"] == best["lr"]
            assert figure["at_edge"] == best["at_edge"] or best["lr"] is None
            assert figure["outcome"]["value"] == pytest.approx(best["outcome"]["value"])
    told = {norm: (best["lr"], best["outcome"]["value"]) for norm, best in bests.items()}
    return told, facts["missing"], "\n".join(facts["sentences"])


def read_dashboard(folder: Path) -> tuple[dict[str, Best], str]:
    write_sweep_dashboard(folder)
    (event,) = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload().Tensors("sweep")
    page = event.tensor_proto.string_val[0].decode()
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| (batch|none) \|", line)]
    bests = {row[0].strip("| "): (number(row[1]), float(row[3])) for row in rows}
    assert {path.name for path in folder.glob("arms/*")} == set(bests)
    return bests, page


@contextlib.contextmanager
def sweep_of(runs: Runs) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "s"
        yield write_runs(folder, lambda norm, lr, seed: runs[norm, lr, seed], norms=NORMS, lrs=LRS, seeds=SEEDS)


def check(runs: Runs) -> None:
    expected = {norm: best for norm in NORMS if (best := best_by_hand(runs, norm)) is not None}
    if len({lr for (_, lr, _), run in runs.items() if run is not None}) < 2:
        return  # there is no best of one rate
    with sweep_of(runs) as folder:
        table, printed = read_table(folder)
        told, missing, sentences = read_json(folder)
        shown, page = read_dashboard(folder)
    for bests in (table, told, shown):
        assert {norm: lr for norm, (lr, _) in bests.items()} == {norm: lr for norm, (lr, _) in expected.items()}
        for norm, (_, loss) in expected.items():
            assert bests[norm][1] == pytest.approx(loss, rel=6e-3, abs=6e-5)  # as printed
    assert missing_by_hand(runs) == {text for text in missing if " at " in text}
    num_missing = sum(outcome_by_hand(run) is None for run in runs.values())
    said = next((line for line in sentences.splitlines() if " of 18 runs " in line), "")
    assert said.startswith(f"{num_missing} of 18 runs") if num_missing else not said
    assert all(text in said for text in missing[:6])
    for view in (printed, page):
        assert said in view


# an example writes and reads many files, so that making a failing one smaller would take minutes: no shrinking
@given(sweeps())
@settings(max_examples=6, deadline=None, phases=[Phase.generate])
def test_all_views_agree_on_a_few_random_sweeps(runs: Runs) -> None:
    check(runs)


@pytest.mark.slow
@given(sweeps())
@settings(max_examples=120, deadline=None, phases=[Phase.generate])
def test_all_views_agree_on_many_random_sweeps(runs: Runs) -> None:
    check(runs)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_removing_one_run_at_the_best_rate_leaves_the_best_rate_in_all_views(norm: str, seed: int) -> None:
    ends = {0.1: 1.0, 0.3: 0.5, 1.0: 0.1}
    runs: Runs = {(n, lr, s): {"loss": ends[lr] + 0.01 * s} for n in NORMS for lr in LRS for s in SEEDS}
    runs[norm, 1.0, seed] = None
    assert best_by_hand(runs, norm) == (1.0, pytest.approx(0.1 + 0.01 * (3 - seed) / 2))
    check(runs)
