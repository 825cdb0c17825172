import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnlab.errors import RunError
from bnlab.records import EndRecord, EvalRecord, StepRecord
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows
from bnlab.runfolder.json_lines import record_line

Damage = Callable[[Path], object]


def written(path: Path, status: str = "finished", **config: Any) -> Path:
    """A run's folder with a manifest and a summary."""
    path.mkdir(parents=True)
    facts = {"seed": 1, "norm": {"name": "batch"}, "optim": {"name": "sgd", "lr": 0.1}, **config}
    (path / "manifest.json").write_text(json.dumps({"schema_version": 1, "status": status, "config": facts}))
    (path / "summary.json").write_text(json.dumps({"run_id": path.name, "status": status, "test_accuracy": 0.5}))
    records = [EvalRecord(9, "test", {"accuracy": 0.5}), EndRecord(9, "finished", {})]
    (path / "metrics.jsonl").write_text("".join(f"{record_line(record)}\n" for record in records))
    (path / "config.yaml").write_text("seed: 1\nnorm: {name: batch}\noptim: {name: sgd, lr: 0.1}\n")
    return path


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda run: (run / "manifest.json").write_text(""), "manifest.json cannot be read"),
        (lambda run: (run / "manifest.json").write_text('{"status": "fini'), "manifest.json cannot be read"),
        (
            lambda run: (run / "manifest.json").write_text("[1]"),
            "manifest.json cannot be read: it holds no JSON object",
        ),
        (lambda run: (run / "manifest.json").write_bytes(b"\xff\xfe\x00"), "manifest.json cannot be read"),
        (lambda run: (run / "manifest.json").write_bytes(b"\0" * 400), "manifest.json cannot be read"),
        (lambda run: (run / "manifest.json").write_text("{}"), "manifest.json says no status"),
    ],
)
def test_a_damaged_manifest_leaves_one_clear_row_and_the_others_alone(
    tmp_path: Path, damage: Damage, problem: str
) -> None:
    damage(written(tmp_path / "s" / "bad"))
    written(tmp_path / "s" / "good")
    bad, good = read_run_rows(tmp_path / "s")
    assert (bad["run_id"], bad["status"]) == ("bad", "failed")
    assert bad["problem"].startswith(problem)
    assert (bad["seed"], bad["norm"], bad["optim.lr"]) == (1, "batch", 0.1)  # config.yaml still says so
    assert (good["status"], good["test_accuracy"]) == ("finished", 0.5)
    assert "problem" not in good


def test_a_damaged_summary_is_named_and_the_records_give_the_figures(tmp_path: Path) -> None:
    (written(tmp_path / "s" / "bad") / "summary.json").write_text("{")
    (row,) = read_run_rows(tmp_path)
    assert "summary.json cannot be read" in row["problem"]
    assert row["test_accuracy"] == 0.5  # metrics.jsonl says so
    assert row["optim.lr"] == 0.1


def test_a_run_whose_every_file_is_damaged_still_has_a_row(tmp_path: Path) -> None:
    run = written(tmp_path / "s" / "bad")
    for name in ("manifest.json", "summary.json", "config.yaml"):
        (run / name).write_bytes(b"\x80{: [")
    (row,) = read_run_rows(tmp_path)
    assert (row["run_id"], row["status"], row["norm"]) == ("bad", "failed", None)


def test_groups_that_were_words_in_an_older_schema_keep_their_names(tmp_path: Path) -> None:
    written(tmp_path / "s" / "old", norm="batch", model="mlp")
    (row,) = read_run_rows(tmp_path)
    assert (row["norm"], row["model"]) == ("batch", "mlp")


def test_a_run_that_is_trained_elsewhere_is_running_and_one_whose_process_died_interrupted(tmp_path: Path) -> None:
    runs = [RunFolder(written(tmp_path / "s" / name, "running")) for name in ("alive", "dead")]
    with runs[1].locked():
        pass
    with runs[0].locked():
        assert [row["status"] for row in read_run_rows(tmp_path)] == ["running", "interrupted"]


def test_the_sweep_is_the_folder_even_when_it_was_given_no_name(tmp_path: Path) -> None:
    written(tmp_path / "runs" / "1a2b3c4d" / "a-run")
    write_sweep(tmp_path / "runs" / "1a2b3c4d", [], ["a-run"])
    written(tmp_path / "runs" / "single" / "a-run")
    written(tmp_path / "runs" / "mine" / "a-run", name="mine")
    assert [row["sweep"] for row in read_run_rows(tmp_path / "runs")] == ["1a2b3c4d", "mine", None]


def test_records_before_a_damaged_line_are_read_and_the_line_is_named(tmp_path: Path) -> None:
    lines = [record_line(StepRecord(step, {})) for step in (1, 2, 4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines[:2], "not JSON", lines[2]]) + "\n")
    seen: list[int] = []
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 3 is damaged"):
        seen.extend(record["step"] for record in RunFolder(tmp_path).read_records())
    assert seen == [1, 2]


def test_lines_that_a_power_cut_filled_with_zeros_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(record_line(StepRecord(1, {})).encode() + b"\n" + b"\0" * 512)
    assert [record["step"] for record in RunFolder(tmp_path).read_records()] == [1]


def test_an_option_named_code_is_shown_as_it_was_given(tmp_path: Path) -> None:
    run = written(tmp_path / "s" / "a", norm={"name": "my:Norm", "code": 3})
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "code": {"norm": {"modules": {"my": "0" * 64}}}}))
    (row,) = read_run_rows(tmp_path / "s")
    assert row["norm.code"] == 3
