import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnlab
from bnlab.results.controlled_divergence import LogitGrowth

Say = Callable[..., Any]
WORDS = ["data=synthetic", "model.width=16", "model.activation=sigmoid", "train.steps=20"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one run with a norm, one without and one without diagnostics; return the folder that holds ``runs``."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for words in ([], ["norm=none"], ["diagnostics=none"]):
            bnlab.train([*WORDS, *words])
    return place


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained runs in the folder of this test."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    return tmp_path / "runs" / "single"


@pytest.fixture
def run(runs: Path) -> Path:
    (found,) = [path for path in runs.glob("batch-*") if "saturation" in (path / "metrics.jsonl").read_text()]
    return found


@pytest.fixture
def bare(runs: Path) -> Path:
    (found,) = [path for path in runs.glob("batch-*") if "saturation" not in (path / "metrics.jsonl").read_text()]
    return found


@pytest.mark.slow
def test_the_panel_has_a_row_per_diagnostic_and_figures_go_into_the_runs_folder(bnlab_says: Say, run: Path) -> None:
    answer = bnlab_says("show", run.name)
    assert answer.status == 0
    lines = answer.out.splitlines()
    for name in ("saturation", "dead_fraction", "gradient_norm"):
        assert sum(name in line.split()[:2] for line in lines) == 1
    assert run.name in answer.out
    written = {path.name for path in (run / "figures").iterdir()}
    assert {"saturation.svg", "saturation.png", "gradient_norm.svg", "gradient_norm.png"} <= written
    assert str(run / "figures") in answer.err


def test_one_diagnostic_is_shown_layer_by_layer_and_how_it_is_read(bnlab_says: Say, run: Path) -> None:
    answer = bnlab_says("show", str(run), "saturation")
    assert all(f"hidden{k}" in answer.out for k in (1, 2, 3))
    assert "Blind spots" in answer.out
    assert {path.name for path in (run / "figures").iterdir()} == {"saturation.svg", "saturation.png"}


@pytest.mark.slow
def test_logits_that_diverge_while_the_network_learns_are_said_aloud(
    bnlab_says: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["diagnostics.names=[logit_scale]", "train.eval_every=5", "diagnostics.schedule.evenly=4"]
    run = Path(bnlab.train([*WORDS, *words], runs=tmp_path / "runs").folder)
    assert json.loads(bnlab_says("show", str(run), "--json", "--no-figures").out)["controlled_divergence"] is None
    monkeypatch.setattr(LogitGrowth, "is_controlled_divergence", True)  # no run so short diverges in control
    answer = bnlab_says("show", str(run), "--no-figures")
    assert "Controlled divergence: the logits grew" in answer.out
    assert "finished" in answer.out
    found = json.loads(bnlab_says("show", str(run), "--json", "--no-figures").out)
    assert (found["status"], found["controlled_divergence"][:21]) == ("finished", "Controlled divergence")


def test_without_figures_nothing_is_written(bnlab_says: Say, run: Path) -> None:
    before = sorted(run.iterdir())
    assert bnlab_says("show", run.name, "--no-figures").status == 0
    assert sorted(run.iterdir()) == before


def test_json_is_one_object_with_all_values(bnlab_says: Say, run: Path) -> None:
    answer = bnlab_says("show", run.name, "saturation", "--json")
    found = json.loads(answer.out)
    assert (found["run_id"], [each["name"] for each in found["diagnostics"]]) == (run.name, ["saturation"])
    curve = found["diagnostics"][0]["values"]["hidden1"]
    assert (curve["steps"][0], curve["steps"][-1]) == (0, 20)
    assert len(curve["steps"]) == len(curve["values"])
    assert [Path(path).name for path in found["figures"]] == ["saturation.svg", "saturation.png"]
    assert answer.err == ""


def test_what_is_out_of_range_is_said_in_words(bnlab_says: Say, run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        record = {"kind": "diagnostic", "step": 21, "split": None, "name": "gradient_norm", "values": {"hidden1": None}}
        file.write(json.dumps({**record, "nonfinite": {"hidden1": "nan"}}) + "\n")
    found = json.loads(bnlab_says("show", run.name, "--json", "--no-figures").out)
    said = {verdict["name"]: verdict["says"] for verdict in found["verdicts"]}
    assert said["gradient_norm"] == "hidden1: not a number since step 21"
    shown = bnlab_says("show", run.name, "--no-figures").out
    assert "! gradient_norm: hidden1: not a number since step 21." in " ".join(shown.split())


def test_of_a_run_without_diagnostics_the_final_figures_are_shown_and_how_to_get_some(
    bnlab_says: Say, bare: Path
) -> None:
    answer = bnlab_says("show", bare.name, "--no-figures")
    assert answer.status == 0
    assert "batch, mlp, sigmoid, synthetic, test " in answer.out
    assert "This measures all of them: bnlab train" in answer.err
    path = bare / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    answer = bnlab_says("show", bare.name, "--no-figures")
    assert answer.status == 0
    assert "without the end of the run" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "neither a folder of runs nor the name"),
        (["RUN", "satration"], "Did you mean saturation"),
        (["single"], "holds 3 runs"),
    ],
)
def test_wrong_input_gets_a_sentence_and_status_2(bnlab_says: Say, run: Path, words: list[str], said: str) -> None:
    answer = bnlab_says("show", *(word.replace("RUN", run.name) for word in words))
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert 1 <= len(answer.err.strip().splitlines()) <= 3


def test_values_that_are_no_numbers_are_counted_among_those_out_of_range(bnlab_says: Say, run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        if record["kind"] == "diagnostic":
            record["nonfinite"] = dict.fromkeys(record["values"], "nan")
            record["values"] = dict.fromkeys(record["values"])
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    out = bnlab_says("show", run.name, "--no-figures").out
    assert "Out of range at the last measured step: 3 of 3." in out


def test_without_a_run_the_usage_is_said(bnlab_says: Say) -> None:
    assert bnlab_says("show").status == 2


@pytest.mark.slow
def test_a_run_that_is_trained_anew_loses_its_old_figures(bnlab_says: Say, run: Path) -> None:
    bnlab_says("show", run.name, "saturation")
    bnlab.train(WORDS, again=True)
    assert not (run / "figures").exists()
    assert (run / "summary.json").exists()


@pytest.mark.slow
def test_a_run_that_was_cut_off_and_looked_at_can_be_trained_again(bnlab_says: Say, run: Path) -> None:
    bnlab_says("show", run.name, "saturation")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    assert bnlab.train(WORDS).status == "finished"
    assert not (run / "figures").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["show", "RUN"], ["compare", "RUN", "OTHER"]])
def test_nothing_waits_for_torch(run: Path, command: list[str]) -> None:
    (other,) = [path.name for path in run.parent.glob("none-*")]
    words = [word.replace("RUN", run.name).replace("OTHER", other) for word in command]
    program = f"import sys; sys.argv = ['bnlab', *{words!r}]\nfrom bnlab.cli.app import main\n"
    program += "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_a_terminal_of_few_signs_gets_plain_letters(run: Path) -> None:
    command = [sys.executable, "-m", "bnlab.cli.app", "show", run.name, "--no-figures"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert b"saturation" in done.stdout.decode("ascii").encode()


def test_after_a_run_a_few_diagnostics_are_shown_and_where_the_others_are(bnlab_says: Say) -> None:
    words = [*WORDS, "diagnostics.names=[saturation,gradient_norm]"]
    bnlab_says("train", "-q", *words)
    (run,) = Path("runs/single").glob("batch-*")
    with (run / "metrics.jsonl").open("a") as file:
        for number in range(40):
            values = {f"hidden{layer}/q{q}": 0.5 for layer in (1, 2) for q in (15, 50)}
            record = {"kind": "diagnostic", "step": 20, "split": None, "name": f"other{number}", "values": values}
            file.write(json.dumps(record) + "\n")
    answer = bnlab_says("train", *words)
    assert "40 other diagnostics" in answer.out
    assert f"bnlab show {run.name}" in answer.out
    assert "other1" not in answer.out
    assert "gradient norm" in answer.out


@pytest.mark.slow
def test_figures_that_cannot_be_written_are_told_after_the_answer(bnlab_says: Say, run: Path) -> None:
    (run / "figures").write_text("a file stands here")
    answer = bnlab_says("show", run.name)
    assert answer.status == 0
    assert "saturation" in answer.out
    (line,) = [line for line in answer.err.splitlines() if line.startswith("warning: ")]
    assert "figures/curves.svg cannot be written" in line
    answer = bnlab_says("show", run.name, "--json")
    assert (answer.status, json.loads(answer.out)["figures"]) == (0, [])
    answer = bnlab_says("show", run.name, "slices")
    assert answer.status == 0
    assert "Training loss" in answer.out
    assert "slices.svg cannot be written" in answer.err
