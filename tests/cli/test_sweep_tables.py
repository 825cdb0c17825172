import json
from pathlib import Path

import pytest
from fake_sweep import run_folder, sweep_of

from bnlab.cli.arm_tables import print_arms
from bnlab.cli.sweep_tables import print_sweep
from bnlab.records import EndRecord, EvalRecord, RunSummary, Status
from bnlab.results.sweep import read_sweep, write_sweep
from bnlab.runfolder.json_lines import record_line
from bnlab.sweeps.execute import SweepResult


def written_run(folder: Path, lr: float, seed: int, status: Status) -> None:
    folder.mkdir()
    config = {"norm": {"name": "none"}, "optim": {"name": "sgd", "lr": lr}, "seed": seed}
    (folder / "manifest.json").write_text(json.dumps({"status": status, "config": config}))
    if status == "finished":
        (folder / "summary.json").write_text(json.dumps({"run_id": folder.name, "validation_loss": 0.5}))
        records = [
            EvalRecord(0, "validation", {"loss": 2.3, "accuracy": 0.1}),
            EvalRecord(9, "validation", {"loss": 0.5}),
            EndRecord(9, "finished", {}),
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{record_line(record)}\n" for record in records))


def test_all_tables_call_a_run_without_a_result_by_the_same_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    statuses: dict[str, Status] = {"a": "finished", "b": "failed", "c": "interrupted", "d": "interrupted"}
    summaries = []
    for lr in (0.1, 1.0):
        for seed, (name, status) in enumerate(statuses.items()):
            status_here = status if lr == 1.0 else "finished"
            folder = tmp_path / f"{name}{lr:g}"
            summaries.append(RunSummary(folder.name, status_here, str(folder), seed))
            if folder.name != "d1":  # it was never begun
                written_run(folder, lr, seed, status_here)
    write_sweep(tmp_path, ["optim.lr=0.1,1", "seed=0,1,2,3"], [summary.run_id for summary in summaries])
    print_sweep(SweepResult(tmp_path, summaries, {}))
    lines = [" ".join(line.split()) for line in capfd.readouterr().out.splitlines()]
    assert any(line.startswith("1 1 ") and line.endswith("1 failed, 1 interrupted, 1 missing") for line in lines)
    assert {"b1 failed", "c1 interrupted cut off", "d1 missing not begun"} <= set(lines)
    assert "8 runs: 5 finished, 1 failed, 1 interrupted, 1 missing" in lines


def test_the_interval_has_the_seeds_of_each_mean_that_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [run_folder(tmp_path, "batch", 0.1, seed, [2.3, 0.5 + seed / 10]) for seed in range(5)]
    for run in runs[:3]:  # the others were not tested
        path = tmp_path / run / "metrics.jsonl"
        *lines, end = path.read_text().splitlines()
        test = record_line(EvalRecord(json.loads(end)["step"], "test", {"loss": 0.3, "accuracy": 0.9}))
        path.write_text("\n".join([*lines, test, end]) + "\n")
    sweep_of(tmp_path, runs)
    print_arms(read_sweep(tmp_path).read_arms().arms, ["seed"])
    assert "95% interval of the mean over 3 to 5 seeds" in capfd.readouterr().out


def test_settings_and_reasons_are_printed_as_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, tag in enumerate(("[bold]", "[/red] :x:")):
        written_run(tmp_path / f"run{number}", 0.1, 0, "finished")
        config = {"norm": {"name": "my:N", "tag": tag}, "optim": {"name": "sgd", "lr": 0.1}, "seed": 0}
        (tmp_path / f"run{number}" / "manifest.json").write_text(json.dumps({"status": "finished", "config": config}))
    summaries = [RunSummary(f"run{number}", "finished", str(tmp_path / f"run{number}"), 0) for number in (0, 1)]
    summaries.append(RunSummary("[i]gone", "failed", str(tmp_path / "gone"), 0))
    write_sweep(tmp_path, ["norm.tag=..."], [summary.run_id for summary in summaries])
    print_sweep(SweepResult(tmp_path, summaries, {"[i]gone": "[bold] in /no/[b]"}))
    out = capfd.readouterr().out
    for text in ("[bold]  ", "[/red] :x:", "[i]gone", "[bold] in /no/[b]"):
        assert text in out
