import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from bnlab.cli.app import app, main
from bnlab.errors import BnlabError, ConfigError
from bnlab.runfolder.folder import RunFolder

STUDY: dict[str, Any] = {
    "claim": {"en": "Batch normalization is faster at the start.", "zh": "批标准化在开始时更快。"},
    "looks": [3, 4, 6],
    "conditions": [{"metric": "area", "arms": ["batch", "none"], "above": 0.02}],
    "scales": {
        "quick": {
            "seeds": 4,
            "minutes": 0.1,
            "parts": {
                "main": {
                    "words": {
                        "norm": ["batch", "none"],
                        "data": "digits",
                        "data.limit": 300,
                        "model.activation": "sigmoid",
                        "model.width": 20,
                        "train.steps": 60,
                        "train.eval_every": 20,
                        "diagnostics": "none",
                        "loggers": "[]",
                        "accept": "[statistics_not_settled]",
                    }
                }
            },
        }
    },
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(STUDY, allow_unicode=True), encoding="utf-8")
    return path


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["study", *words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.slow
def test_a_study_of_ones_own_is_one_file_and_gives_a_verdict(own: Path):
    status, out, err = run(str(own))
    assert status == 0
    assert "SUPPORTED" in out
    assert "Batch normalization is faster at the start." in out
    assert "8 of 8 runs to train" in err
    status, out, err = run("mine.yaml", "--json")
    verdict = json.loads(out)
    assert (status, verdict["verdict"], verdict["n"]) == (0, "supported", 4)
    assert "runs to train" not in err
    kept = json.loads((own.parent / "runs/studies/mine-quick.json").read_text())
    assert kept == verdict
    status, out, err = run("mine.yaml", "--more-seeds", "1", "--json")
    assert "2 of 10 runs to train" in err
    more = json.loads(out)
    assert more["n"] == 5
    assert [entry["n"] for entry in more["history"]] == [4, 5]
    assert more["command"] == "bnlab study mine.yaml --more-seeds 1"


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_verdict_that_cannot_be_kept_is_told_all_the_same():
    assert run("mine.yaml")[0] == 0
    shutil.rmtree("runs/studies")
    Path("runs/studies").write_text("a file stands here")
    status, out, err = run("mine.yaml")
    assert status == 0
    assert "SUPPORTED" in out
    assert err.count("warning: verdicts are not kept: runs cannot be written to") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_study_stops_at_the_first_look_that_decides():
    _, out, err = run("mine.yaml", "--until-decided", "--json")
    verdict = json.loads(out)
    assert (verdict["verdict"], verdict["n"]) == ("supported", 3)
    assert "look at 3 seeds" in err
    assert "look at 4 seeds" not in err


@pytest.mark.slow
def test_learning_rates_are_chosen_on_other_seeds_than_those_that_decide(own: Path):
    content = json.loads(json.dumps(STUDY))
    part = content["scales"]["quick"]["parts"]["main"]
    part["words"] |= {"optim.lr": [0.001, 1.0]}
    part["tune"] = {"seeds": 1}
    own.write_text(yaml.safe_dump(content), encoding="utf-8")
    _, out, err = run("mine.yaml", "--json")
    verdict = json.loads(out)
    assert "choice of learning rates: 4 of 4 runs to train" in err
    (tuning,) = (own.parent / "runs").glob("study-*-tuning")
    assert verdict["parts"]["main"]["rates"] == {"batch": 1, "none": 1}
    assert {
        path.name.split("-s")[1].split("-")[0] for path in tuning.iterdir() if path.is_dir() and "-lr" in path.name
    } == {"1000"}
    condition = verdict["conditions"][0]
    assert condition["learning_rates"] == [1, 1]
    assert condition["seeds"] == [0, 1, 2, 3]
    assert any("highest learning rate that was tried" in sentence for sentence in condition["sentences"])


@pytest.mark.slow
def test_the_definitions_are_judged_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("definitions", "--json")
    verdict = json.loads(out)
    assert (status, verdict["verdict"]) == (0, "supported")
    asked = {one["statement"] for one in verdict["conditions"]}
    assert asked == {"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S24"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["definitons"], "Did you mean definitions"),
        (["definitions", "optim.lr=1"], "the settings of a study stand in its file"),
        (["definitions", "--scale", "full"], "definitions has no scale full"),
        (["sweep.engine=sequential"], "NAME is missing"),
        (["nowhere.yaml"], "cannot be read"),
        (["~nosuchuser/x.yaml"], "the home folder of that user is not known"),
    ],
)
def test_wrong_words_get_one_sentence(words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        run(*words)
    assert told in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_wrong_setting_is_told_with_the_file_of_the_study(own: Path):
    content = json.loads(json.dumps(STUDY))
    content["scales"]["quick"]["parts"]["main"]["words"]["model.activation"] = "sigmod"
    own.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(BnlabError, match=r"mine\.yaml: .*sigmod"):
        run("mine.yaml")
    assert not (own.parent / "runs").exists()


def test_a_norm_that_is_not_there_is_told_with_the_file_of_the_study(own: Path):
    content = json.loads(json.dumps(STUDY))
    content["scales"]["quick"]["parts"]["main"]["words"]["norm"] = ["batch", "none", "nosuch:Layer"]
    own.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(BnlabError, match=r"mine\.yaml: .*nosuch"):
        run("mine.yaml")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (
            {"metric": "area", "arms": ["bacth", "none"], "above": 0.02},
            "part main has no arm bacth. Did you mean batch",
        ),
        ({"metric": "saturation/hidden1", "arm": "none", "above": 0.02}, "part main does not measure saturation"),
        ({"metric": "area", "arm": "layer", "above": 0, "part": "other"}, "part other has no arm layer"),
        (
            {"metric": "area", "arm": "batch", "above": 0, "part": "other", "where": ["optim.lr=0.3"]},
            r"mine\.yaml: part other has no run with optim\.lr=0\.3",
        ),
        (
            {"metric": "area", "arm": "batch", "above": 0, "where": ["model.width=20", "seed=1,2", "seed=3"]},
            "part main has no run with model.width=20 seed=1,2 seed=3",
        ),
        (
            {"metric": "area", "arm": "batch", "above": 0, "where": ["model.widht=20"]},
            r"mine\.yaml: part main: where model\.widht: .*Did you mean model\.width",
        ),
    ],
)
def test_names_are_checked_before_anything_is_trained(own: Path, condition: dict[str, Any], told: str):
    content = json.loads(json.dumps(STUDY))
    parts = content["scales"]["quick"]["parts"]
    parts["other"] = {"words": {**parts["main"]["words"], "model.width": 24}}
    content["conditions"][0]["part"] = "main"
    condition = {"part": "main", **condition}
    own.write_text(yaml.safe_dump({**content, "also": [condition]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        run("mine.yaml")
    assert not (own.parent / "runs").exists()


@pytest.mark.slow
def test_studies_are_listed_with_claim_statements_and_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["list", "studies", "--json"])
    rows = (
        {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
        if result.stdout[:1] == "{"
        else {row["name"]: row for row in json.loads(result.stdout)}
    )
    assert rows["definitions"]["statements"].startswith("S1, S2")
    assert rows["definitions"]["minutes"] > 0


@pytest.mark.slow
def test_what_does_not_fit_into_some_minutes_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("definitions", "all", "--in-minutes", "0.05", "--json")
    assert status == 0
    assert [json.loads(line)["study"] for line in out.splitlines()] == ["definitions"]
    assert "left out" in err


def write_long(path: Path) -> None:
    """Write the study with runs that take a while, one after another."""
    content = json.loads(json.dumps(STUDY))
    words = content["scales"]["quick"]["parts"]["main"]["words"]
    words |= {"train.steps": 400, "train.eval_every": 100, "sweep.engine": "sequential"}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The verdict of the long study, which nothing has cut off."""
    folder = tmp_path_factory.mktemp("whole")
    write_long(folder / "mine.yaml")
    _, out, _ = run(str(folder / "mine.yaml"), "--json", "--runs", str(folder / "runs"))
    return dict(json.loads(out))


def forked(*words: str) -> int:
    """Run `bnlab` in a fork of this process, which has imported torch; return the number of the process."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        sys.argv = ["bnlab", *words]
        main()
    except SystemExit as ending:
        status = int(ending.code or 0)
    finally:
        os._exit(status)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork, which keeps this test quick")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_study_that_was_cut_off_goes_on_to_the_verdict_of_one_that_was_not(
    own: Path, whole: dict[str, Any], number: signal.Signals
):
    write_long(own)
    child = forked("study", str(own), "--json", "--jobs", "1")
    try:
        deadline = time.monotonic() + 300
        while not list((own.parent / "runs").glob("study-*/*/summary.json")):
            assert time.monotonic() < deadline, "no run ended"
            time.sleep(0.01)
    finally:
        os.kill(child, number)
        _, how = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(how) == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    folders = [RunFolder(path.parent) for path in (own.parent / "runs").glob("study-*/*/manifest.json")]
    before = sum(folder.read_finished() is not None for folder in folders)
    assert before < 8
    status, out, err = run(str(own), "--json")
    assert status == 0, err
    resumed = json.loads(out)
    assert f"{8 - before} of 8 runs to train" in err
    decides = ("verdict", "effect", "low", "high", "n", "criterion", "stress")
    assert [resumed[key] for key in decides] == [whole[key] for key in decides]
