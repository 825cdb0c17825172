"""`bnlab demo`: pairs of networks side by side, sentences that follow from the runs, verdicts, a page."""

import json
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from example_studies import condition, study
from judged_runs import Written, rising, write_run
from rich.cells import cell_len
from scipy import stats

from bnlab.cli import demo_command
from bnlab.cli.demo_text import BRIEF, print_demo
from bnlab.cli.verdict_text import COLORS
from bnlab.pages.study_results import Lang
from bnlab.pages.words import Words
from bnlab.records import RunSummary
from bnlab.results.sweep import write_sweep
from bnlab.sweeps.execute import SweepResult
from bnlab.sweeps.plan import Sweep, plan_sweep

Say = Callable[..., Any]

PLAIN = {"deep-sigmoid": 0.1, "wide-sigmoid": 0.8, "plain-relu": 0.9}
"""Test accuracies of the plain networks that the quick tests write, seed by seed a point more."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs of the demo, as if they had been trained; no study is asked."""
    monkeypatch.setattr(demo_command, "STUDIES", ())
    write_pairs(PLAIN)


def write_pairs(plain_of: dict[str, float]) -> None:
    for name, plain in plain_of.items():
        sweep = plan_sweep([f"sweep={name}"])
        for run_id, config in sweep.configs.items():
            end = (0.9 if config.norm.name == "batch" else plain) + 0.01 * config.seed
            run: Written = rising(end, saturation=[0.002] * 5)
            write_run(sweep.folder / run_id, config.as_dict(), run)
        write_sweep(sweep.folder, sweep.overrides, list(sweep.configs))


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_the_demo_tells_what_the_runs_tell_and_writes_a_page(bnlab_says: Say) -> None:
    answer = bnlab_says("demo")
    assert answer.status == 0, answer.err
    said = " ".join(answer.out.split())
    assert "1. 5 sigmoid layers, usual initial weights: with batch normalization 91.0% [88.5, 93.5]" in said
    assert (
        "the plain network learned nothing, and saturation is not why: at no measured step were more than 0.2%" in said
    )
    assert "2. 5 sigmoid layers, initial weights of standard deviation 1: with batch normalization 91.0%" in said
    assert "3. 3 relu layers" in said
    assert "Page runs/demo.html" in said
    html = Path("runs/demo.html").read_text(encoding="utf-8")
    assert html.count('<svg class="plot"') >= 3
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_in_chinese_as_json_and_quiet(bnlab_says: Say) -> None:
    chinese = bnlab_says("demo", "--lang", "zh")
    assert "不加标准化的网络什么也没有学到，原因却不是饱和" in re.sub(r"\s", "", chinese.out)
    assert "三对网络" in chinese.err
    assert Path("runs/demo.zh.html").exists()
    *runs, last = [json.loads(line) for line in bnlab_says("demo", "--json").out.splitlines()]
    assert [one["cached"] for one in runs] == [True] * 18
    assert {one["status"] for one in runs} == {"finished"}
    assert len(last["sentences"]) == 3
    assert Path(last["page"]).exists()
    quiet = bnlab_says("demo", "--quiet")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_a_demo_that_is_there_is_shown_and_nothing_is_trained(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_command, "STUDIES", ())
    monkeypatch.setattr(demo_command, "PAIRS", ("deep-sigmoid",))  # planning each costs 0.2 s
    write_pairs({"deep-sigmoid": 0.1})
    drawn = mock.Mock(sentences=["What came out."])
    monkeypatch.setattr(demo_command, "_page", lambda *_: drawn)  # figures wait for matplotlib
    monkeypatch.setattr(demo_command, "_written", lambda _, path: path)
    answer = bnlab_says("demo", "--json")
    *runs, last = [json.loads(line) for line in answer.out.splitlines()]
    assert (answer.status, len(runs), {one["cached"] for one in runs}) == (0, 6, {True})
    assert last["sentences"] == ["What came out."]
    assert last["page"].endswith("runs/demo.html")


def test_what_keeps_runs_from_beginning_is_told(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(sweep: Sweep, *_: object, **__: object) -> SweepResult:
        return SweepResult(sweep.folder, [RunSummary("a", "interrupted", "a", 0)], {}, "there is no room")

    monkeypatch.setattr(demo_command, "STUDIES", ())
    monkeypatch.setattr(demo_command, "PAIRS", ("deep-sigmoid",))
    monkeypatch.setattr("bnlab.sweeps.execute.execute", execute)
    monkeypatch.setattr("bnlab.sweeps.execute.start_workers_early", lambda *_: None)
    monkeypatch.setattr("bnlab.sweeps.plan.prepared", lambda sweep, **_: sweep)
    monkeypatch.setattr(demo_command, "_page", lambda *_: mock.Mock(sentences=[]))
    monkeypatch.setattr(demo_command, "_written", lambda *_: None)
    answer = bnlab_says("demo", "--quiet")
    assert (answer.status, answer.out, answer.err) == (1, "", "error: there is no room\n")


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_page_that_cannot_be_written_is_a_warning_after_the_result(bnlab_says: Say) -> None:
    Path("runs/demo.html").mkdir()
    answer = bnlab_says("demo")
    assert answer.status == 0
    assert "demo.html cannot be written" in answer.err
    assert "What happened, and what did not" in answer.out


SENTENCES = [f"{number} layers: " + "with it 91.1% [90.4, 91.8] are right; " * 7 for number in (1, 2, 3)]
"""Sentences of four lines each, which is as long as they come."""


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_last_screen_holds_the_sentences_the_verdicts_and_the_page(
    lang: Lang, capfd: pytest.CaptureFixture[str]
) -> None:
    effect, reason = condition(verdict="supported"), condition(verdict="refuted")
    verdicts = [
        study("vanishing-gradients", verdict="refuted", conditions=[effect, reason]),
        study("definitions", verdict="supported"),
    ]
    print_demo(SENTENCES, verdicts, Path("runs/demo.html"), Words(lang))
    lines = capfd.readouterr().out.removeprefix("\n").splitlines()
    assert len(lines) <= 23  # of 24, the last one is the prompt's
    assert all(cell_len(line) <= 80 for line in lines)
    assert [line[:2] for line in lines if re.match(r"\d\.", line)] == ["1.", "2.", "3."]
    said = "\n".join(map(str.rstrip, lines))
    assert "runs/demo.html" in said
    if lang == "en":
        assert "refuted means that what the article says did not hold here" in said
        assert "\nx refuted    BatchNorm keeps gradients by keeping sigmoids out of saturation\n" in said
        assert "\n             gradients are kept, but hardly any unit was saturated without it\n" in said
        assert "\n+ supported  BatchNorm computes what the article's formulas say\n" in said


def test_that_only_the_effect_held_is_said_of_no_other_verdict(capfd: pytest.CaptureFixture[str]) -> None:
    conditions = [condition(verdict="refuted"), condition(verdict="refuted")]
    print_demo([], [study("vanishing-gradients", verdict="refuted", conditions=conditions)], None, Words("en"))
    assert "hardly any unit" not in capfd.readouterr().out


def test_each_study_of_the_demo_has_a_line() -> None:
    assert set(BRIEF) == set(demo_command.STUDIES)


def test_a_claim_that_did_not_hold_looks_like_a_result() -> None:
    assert "red" not in COLORS["refuted"]  # the color of errors


def test_the_first_script_ends_with_the_demo() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "quickstart"
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "bnlab demo"


def share(values: list[float]) -> str:
    """Return a mean in percent with Student's interval, written apart from bnlab's own."""
    mean, n = statistics.fmean(values), len(values)
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    return f"{100 * mean:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def saturation_of(runs: list[Path]) -> tuple[float, float]:
    """Return the mean share at the start, over runs and layers, and the largest one of a layer and a step."""
    found: dict[tuple[int, str], list[float]] = {}
    for run in runs:
        for one in records(run):
            if one["kind"] == "diagnostic" and one["name"] == "saturation":
                for layer, value in one["values"].items():
                    found.setdefault((one["step"], layer), []).append(value)
    means = {place: statistics.fmean(values) for place, values in found.items()}
    return statistics.fmean(mean for (step, _), mean in means.items() if step == 0), max(means.values())


@pytest.mark.slow
def test_the_whole_demo_says_what_its_runs_say_read_apart(bnlab_says: Say) -> None:
    answer = bnlab_says("demo")
    assert answer.status == 0, answer.err
    said = " ".join(answer.out.split())
    sentences = re.findall(r"\d\. (\d .*?\.)(?= \d\. \d | Verdicts)", said)
    assert len(sentences) == 3
    page = Path("runs/demo.html").read_text(encoding="utf-8")
    for name, sentence in zip(("deep-sigmoid", "wide-sigmoid", "plain-relu"), sentences, strict=True):
        runs = {norm: sorted(Path("runs", name).glob(f"{norm}-*")) for norm in ("batch", "none")}
        tests = {
            norm: [json.loads((run / "summary.json").read_text(encoding="utf-8"))["test_accuracy"] for run in of_norm]
            for norm, of_norm in runs.items()
        }
        assert len(tests["batch"]) == len(tests["none"]) == 3
        assert f"with batch normalization {share(tests['batch'])} of the test images" in sentence
        assert f"without it {share(tests['none'])};" in sentence
        if name == "plain-relu":
            difference = statistics.fmean(a - b for a, b in zip(tests["batch"], tests["none"], strict=True))
            written = f"{100 * difference:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")
            assert f"{written} [" in sentence
        else:
            start, most = saturation_of(runs["none"])
            has_learned = statistics.fmean(tests["none"]) > 0.2
            assert ("learned nothing" in sentence) == (not has_learned)
            told = start if start >= 0.5 and has_learned else most
            assert (f"{100 * told:.1f}%" if told < 0.1 else f"{100 * told:.0f}%") in sentence.partition(";")[2]
        assert sentence.replace("'", "&#39;") in page
    verdicts = {name: json.loads(Path(f"runs/studies/{name}-quick.json").read_text()) for name in demo_command.STUDIES}
    for name, verdict in verdicts.items():
        assert verdict["n"] == 10
        assert f"verdict {verdict['verdict'].upper()}" in said
        assert f"bnlab study {name}" in said
    ended = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/*/summary.json")}
    assert bnlab_says("demo").status == 0
    assert {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/*/summary.json")} == ended
    alone = plan_sweep(["norm=none", "model.activation=sigmoid", "model.depth=5", "seed=0"])
    assert Path("runs/deep-sigmoid", *alone.configs).exists()
