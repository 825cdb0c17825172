import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.identity.run_id import run_id
from bnlab.runfolder.folder import RunFolder

Say = Callable[..., Any]
QUICK = [
    *["data=synthetic", "train.steps=30", "model.width=16"],
    *["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=3"],
]
KEYS = [
    *["run_id", "status", "folder", "seed", "test_accuracy", "test_loss", "validation_accuracy", "validation_loss"],
    *["train_loss", "steps", "duration_s", "cached", "diverged_at_step"],
]


def test_a_run_prints_a_summary_and_its_folder_and_leaves_nothing_else(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("train", *QUICK)
    assert answer.status == 0
    assert "finished" in answer.out
    assert "test" in answer.out
    assert str(tmp_path / "runs" / "single" / "batch-mlp-synthetic-lr0.1-s0-") in answer.out
    assert "step 30/30" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_of_a_deep_network_the_summary_shows_the_first_and_the_last_layers(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "data=synthetic", "train.steps=2", "model.width=4", "model.depth=20")
    rows = [line.split() for line in answer.out.split("\n") if "hidden" in line or "..." in line or " output " in line]
    layers = [row[0] for row in rows]
    assert layers == [*(f"hidden{i}" for i in range(1, 9)), "...", *(f"hidden{i}" for i in range(14, 21)), "output"]
    assert rows[8][:4] == ["...", "5", "more", "..."]


def test_json_is_one_object_with_the_keys_of_the_contract(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "--json", *QUICK)
    facts = json.loads(answer.out)
    assert list(facts) == KEYS
    assert (facts["status"], facts["cached"], facts["seed"]) == ("finished", False, 0)
    assert 0 <= facts["test_accuracy"] <= 1
    assert json.loads(bnlab_says("train", "--json", *QUICK).out) == {**facts, "cached": True}
    assert not json.loads(bnlab_says("train", "--json", "--again", *QUICK).out)["cached"]


def test_quiet_prints_nothing(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "--quiet", *QUICK)
    assert (answer.status, answer.out, answer.err) == (0, "", "")


def test_what_is_not_finite_is_null_in_json_and_divergence_is_status_1(bnlab_says: Say) -> None:
    quick = [word for word in QUICK if not word.startswith("train.steps=")]
    answer = bnlab_says("train", "--json", *quick, "norm=none", "optim.lr=1e4", "train.steps=100")
    facts = json.loads(answer.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (answer.status, facts["status"], facts["train_loss"]) == (1, "diverged", None)


@pytest.mark.slow
def test_m_gives_one_object_per_run_in_order_and_divergence_is_a_result_there(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("train", "-m", "--json", *QUICK, "norm=none", "optim.lr=0.1,1e4", "seed=range(2)")
    runs = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.status == 0
    assert [(run["run_id"].split("-")[3], run["seed"]) for run in runs] == [
        *[("lr0.1", 0), ("lr0.1", 1), ("lr10000", 0), ("lr10000", 1)]
    ]
    assert [run["status"] for run in runs] == ["finished", "finished", "diverged", "diverged"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(folder.name) == 8
    assert json.loads((folder / "sweep.json").read_text())["runs"] == [run["run_id"] for run in runs]


@pytest.mark.slow
def test_m_prints_one_table(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "-m", *QUICK, "norm=batch,none", "name=two")
    assert "2 runs: 2 finished" in answer.out
    assert all(arm in answer.out for arm in ("batch", "none"))


@pytest.mark.slow
def test_a_norms_option_applies_where_it_exists_and_one_warning_names_the_others(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "-m", "--json", *QUICK, "norm=batch,group,none", "norm.num_groups=2")
    assert len(answer.out.splitlines()) == 3
    assert answer.err.count("warning") == 1
    assert "norm.num_groups does not apply to norm=batch,none" in answer.err
    nobody = bnlab_says("train", "-m", *QUICK, "norm=batch,none", "norm.num_groups=2")
    assert nobody.status == 2
    assert "norm.num_groups is not a setting with norm=batch,none" in nobody.err


def test_one_wrong_run_of_a_sweep_is_found_before_the_first_is_trained(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("train", "-m", *QUICK, "norm=batch,instance")
    assert answer.status == 2
    assert "norm=instance needs more than one position" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_failing_run_does_not_stop_the_others(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnlab.experiment import assembly  # noqa: PLC0415  (after torch's threads are set)

    assemble = assembly.assemble

    def breaks_for_seed_0(config: Any, checked: Any) -> Any:
        if config.seed == 0:
            raise ArithmeticError("five")
        return assemble(config, checked)

    monkeypatch.setattr(assembly, "assemble", breaks_for_seed_0)
    answer = bnlab_says("train", "-m", "--json", *QUICK, "seed=0,1", "sweep.engine=sequential")
    assert answer.status == 1
    assert [json.loads(line)["status"] for line in answer.out.splitlines()] == ["failed", "finished"]
    assert "ArithmeticError: five" in answer.err


@pytest.mark.parametrize("words", [["norm=bathc"], ["optim.lrr=1"], ["norm"], ["seed=-1"], ["norm.eps=0"]])
def test_wrong_input_is_status_2_one_to_three_lines_and_no_folder(
    bnlab_says: Say, tmp_path: Path, words: list[str]
) -> None:
    answer = bnlab_says("train", *QUICK, *words)
    assert (answer.status, answer.out) == (2, "")
    assert 1 <= len(answer.err.strip().splitlines()) <= 3
    assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(bnlab_says: Say) -> None:
    with pytest.raises(ConfigError):
        bnlab_says("train", "norm=bathc", "--debug")


@pytest.mark.slow
def test_runs_go_where_they_are_told(bnlab_says: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bnlab_says("train", "-q", *QUICK, "--runs", str(tmp_path / "here"))
    monkeypatch.setenv("BNLAB_RUNS", str(tmp_path / "there"))
    bnlab_says("train", "-q", *QUICK)
    bnlab_says("train", "-q", *QUICK, "name=mine")
    assert len(list((tmp_path / "here" / "single").glob("batch-*"))) == 1
    assert len(list((tmp_path / "there" / "single").glob("batch-*"))) == 1
    assert len(list((tmp_path / "there" / "mine").glob("batch-*"))) == 1


def test_cfg_prints_the_config_and_trains_nothing(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("train", "--cfg", "job", "norm=group", "optim.lr=0.3")
    assert answer.status == 0
    assert "num_groups: 4" in answer.out
    assert "lr: 0.3" in answer.out
    assert list(tmp_path.iterdir()) == []
    assert bnlab_says("train", "--cfg", "jbo").status == 2


@pytest.mark.parametrize("words", [["train", "--jsn"], ["trian"], ["list", "nroms"], ["train", "--runs"]])
def test_an_unknown_option_or_command_gets_a_line_too(bnlab_says: Say, words: list[str]) -> None:
    answer = bnlab_says(*words)
    assert (answer.status, answer.out) == (2, "")
    assert 1 <= len(answer.err.strip().splitlines()) <= 3
    assert words[-1] in answer.err


def test_a_run_that_trains_elsewhere_is_told_so_and_nothing_more(bnlab_says: Say, tmp_path: Path) -> None:
    config = compose_run(QUICK)
    elsewhere = RunFolder(tmp_path / "runs" / "single" / run_id(config))
    with elsewhere.opened_for_training(config, {}):
        answer = bnlab_says("train", *QUICK)
        assert (answer.status, answer.out) == (1, "")
        assert "being trained by another process" in answer.err
        assert len(answer.err.strip().splitlines()) == 1
        assert json.loads(bnlab_says("train", "--json", *QUICK).out)["status"] == "running"


def test_a_place_for_runs_that_is_none_is_wrong_input(bnlab_says: Say, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    answer = bnlab_says("train", *QUICK)
    assert answer.status == 2
    assert "--runs or BNLAB_RUNS" in answer.err
