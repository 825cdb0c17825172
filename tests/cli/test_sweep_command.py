import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loky import ProcessPoolExecutor

from bnlab.cli.sweep_view import LiveSweepView, PlainSweepView, SweepProgress, open_sweep_view
from bnlab.loggers.terminal import LiveTerminal, open_terminal
from bnlab.sweeps.backends import local
from bnlab.sweeps.backends.local import end_workers
from bnlab.sweeps.plan import plan_sweep

Say = Callable[..., Any]

QUICK = ["data=digits", "data.limit=200", "train.steps=30", "diagnostics=none", "model.width=8", "loggers=[]"]
SIX = [*QUICK, "norm=none,layer", "optim.lr=0.01,0.1,1", "name=six"]


@pytest.fixture(autouse=True)
def _hasty_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate how long a sweep takes by a step or two."""
    monkeypatch.setattr("bnlab.sweeps.time_estimate.TRIED_S", 0.01)


@pytest.mark.slow
def test_a_sweep_prints_its_cells_and_the_best_learning_rate_of_each_arm_and_a_dry_run_what_is_there(
    bnlab_says: Say,
) -> None:
    answer = bnlab_says("sweep", *SIX, "seed=0,1", "--jobs", "1")
    assert answer.status == 0
    assert "12 runs: 12 finished" in answer.out
    lines = [line.split() for line in answer.out.splitlines() if line.strip().startswith(("none", "layer"))]
    assert [line[:3] for line in lines[:6]] == [[a, lr, "2"] for a in ("none", "layer") for lr in ("0.01", "0.1", "1")]
    assert len(lines) == 8  # and one per arm, in the table of the best
    assert "95% interval of the mean over 2 seeds" in answer.out
    assert answer.out.count("[") == 6 * 3 + 2 * 3  # of each mean; two pairs of seeds have no interval of a difference
    assert "12 runs" in answer.err
    shutil.rmtree(next(Path("runs/six").glob("none*")))
    again = bnlab_says("sweep", *SIX, "seed=0,1", "--dry-run")
    assert "11 there already; 1 trained together in 1 cohort" in again.err
    assert len(list(Path("runs/six").glob("*-s[01]-*"))) == 11


@pytest.mark.slow
def test_a_dashboard_that_cannot_be_written_is_a_warning_after_the_result(
    bnlab_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[Path]:
        raise RuntimeError("no room for pictures")

    monkeypatch.setattr("bnlab.report.dashboard.write_dashboard", refuse)
    words = [*QUICK[:-1], "loggers=[tensorboard]", "norm=none", "seed=0,1", "name=two"]
    answer = bnlab_says("sweep", *words, "--jobs", "1")
    assert answer.status == 0
    assert "2 runs: 2 finished" in answer.out
    assert "dashboard could not be written: RuntimeError: no room for pictures" in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


@pytest.mark.slow
def test_a_dry_run_says_how_long_it_takes_and_makes_nothing(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SIX, "--dry-run")
    assert answer.status == 0
    assert answer.out == ""
    assert re.search(r"6 runs in .*six", answer.err)
    assert re.search(r"about \d+ s", answer.err)
    assert not Path("runs").exists()


@pytest.mark.slow
def test_json_prints_every_run_in_the_order_swept(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SIX, "--json", "--quiet", "--jobs", "1")
    runs = [json.loads(line) for line in answer.out.splitlines()]
    assert [run["run_id"].rpartition("-s")[0] for run in runs] == [
        f"{norm}-mlp-digits-lr{lr}" for norm in ("none", "layer") for lr in ("0.01", "0.1", "1")
    ]
    assert json.loads(Path("runs/six/sweep.json").read_text())["runs"] == [run["run_id"] for run in runs]
    assert answer.err == ""
    assert not any(run["cached"] for run in runs)
    again = bnlab_says("sweep", *SIX, "--json", "--quiet")
    assert all(json.loads(line)["cached"] for line in again.out.splitlines())


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(
    ("words", "law"),
    [
        (["norm=batch,nroe"], "Did you mean none"),
        (["optim.lr=0.1,-1"], "optim.lr must be greater than 0, got -1"),
        (["norm=group", "norm.num_groups=2,3"], "norm.num_groups must divide num_channels"),
        (["sweep=norms-lr-sedes"], "sweep=norms-lr-sedes is not known. Did you mean norms-lr-seeds"),
        (["optim.lr=logspace(0,1,3)"], "needs two numbers above 0"),
        (["optim.lr=0.1", "optim.lr=0.2,0.3"], "optim.lr is given twice: optim.lr=0.1 and optim.lr=0.2,0.3"),
        (["sweep=norms-lr-seeds", "sweep=lr-sensitivity"], "sweep is given twice"),
        (["hydra/launcher=no_such_thing", "seed=0,1"], "no_such_thing"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_in_one_sentence_before_any_folder_is_made(
    bnlab_says: Say, words: list[str], law: str
) -> None:
    answer = bnlab_says("sweep", *QUICK, *words)
    assert answer.status == 2
    assert law in answer.err
    assert "Traceback" not in answer.err
    assert len([line for line in answer.err.splitlines() if "error" in line]) == 1
    assert not list(Path().rglob("metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sweep", "lr-sensitivity"])
def test_a_runs_folder_that_is_a_file_is_refused_in_one_line_before_the_estimate(bnlab_says: Say, command: str) -> None:
    Path("afile").write_text("mine")
    answer = bnlab_says(command, *SIX, "--runs", "afile")
    assert (answer.status, answer.out) == (2, "")
    place = Path("afile/six").absolute()
    assert answer.err.endswith(
        f"runs cannot be written to {place}: Not a directory. Choose another place by --runs or BNLAB_RUNS.\n"
    )
    assert answer.err.count("\n") == 1
    assert "about" not in answer.err


@pytest.mark.slow
def test_a_sweep_from_a_file_yields_to_what_is_typed(bnlab_says: Say) -> None:
    folder = Path("mine/sweep")
    folder.mkdir(parents=True)
    (folder / "two.yaml").write_text("# Two.\nname: two\nnorm: [none, layer]\nseed: range(3)\ntrain.steps: 5\n")
    answer = bnlab_says(
        "sweep", *QUICK[:2], *QUICK[3:], "sweep=two", "seed=7", "--config-dir", "mine", "--quiet", "-j", "1"
    )
    assert answer.status == 0
    assert sorted(path.name[:5] for path in Path("runs/two").glob("*-s7-*")) == ["layer", "none-"]
    assert json.loads(Path("runs/two/sweep.json").read_text())["overrides"][-1] == "seed=7"


def test_the_view_counts_the_last_ending_of_a_run_and_looks_at_those_under_way_alone() -> None:
    sweep = plan_sweep(SIX)
    names = list(sweep.configs)
    progress = SweepProgress(sweep, names)
    for name in names:
        progress.take({"steps": {name: 10}, "of": 30})
        progress.take({"ended": {"run_id": name, "status": "failed"}})
        progress.take({"steps": {name: 20}, "of": 30})  # it is tried again
    arms = progress.arms.values()
    assert "6 of 6 runs, 6 failed" in progress.headline()
    for name in names[1:]:
        progress.take({"ended": {"run_id": name, "status": "diverged"}})
    assert "6 of 6 runs, 5 diverged, 1 failed" in progress.headline()
    assert (sum(arm.done for arm in arms), [arm._shares for arm in arms]) == (6, [{}] * len(arms))


def test_the_view_counts_runs_and_keeps_the_best_of_each_arm(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console  # noqa: PLC0415  (the console must see the captured stream)

    sweep = plan_sweep(SIX)
    view = PlainSweepView(Console(), SweepProgress(sweep, list(sweep.configs)))
    first, second, third = list(sweep.configs)[:3]
    view.take({"steps": {first: 15, second: 30}, "of": 30})
    assert view._progress.done == pytest.approx((0.5 + 1) / 6)
    view.take({"ended": {"run_id": first, "status": "finished", "validation_accuracy": 0.5}})
    view.take({"ended": {"run_id": second, "status": "diverged", "validation_accuracy": 0.9}})
    view.take({"failed": [third], "reason": "two and two are five"})
    view.close()
    assert view._progress.arms["none"].best == (0.5, "lr=0.01")
    said = capsys.readouterr().out
    assert f"failed: {third}: two and two are five" in said
    assert "6 runs, 33% done, 2 ended, 1 diverged; " in said


def test_the_view_compares_the_names_of_many_arms_a_few_times_for_each_run() -> None:
    comparisons = []

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            comparisons.append(other)
            return str.__eq__(self, other)

    class ManyArms:
        def arm(self, name: str) -> str:
            return Name(f"arm {int(name) // 2}")

        def cell(self, name: str) -> str:
            return name

    progress = SweepProgress(ManyArms(), [str(number) for number in range(200)])  # type: ignore[arg-type]
    assert len(comparisons) <= 5 * 200  # each name with each: 100 * 200
    assert {arm.num_runs for arm in progress.arms.values()} == {2}
    assert list(progress.arms)[:2] == ["arm 0", "arm 1"]


@pytest.mark.parametrize(("terminal", "is_live"), [("dumb", False), ("xterm", True)])
def test_a_terminal_that_cannot_redraw_lines_shows_progress_line_by_line(
    terminal: str, is_live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console  # noqa: PLC0415

    monkeypatch.setenv("TERM", terminal)
    console = Console(file=io.StringIO(), force_terminal=True)
    sweep = plan_sweep(SIX)
    of_sweep = open_sweep_view(console, sweep, list(sweep.configs))
    of_sweep.close()
    of_run = open_terminal(console, "mine", 10, 8)
    of_run.close(None)
    assert [isinstance(of_sweep, LiveSweepView), isinstance(of_run, LiveTerminal)] == [is_live] * 2


def test_a_live_view_fits_a_narrow_window() -> None:
    from rich.console import Console  # noqa: PLC0415

    sweep = plan_sweep(SIX)
    view = LiveSweepView(Console(force_terminal=True), SweepProgress(sweep, list(sweep.configs)))
    view.take({"steps": {next(iter(sweep.configs)): 15}, "of": 30})
    view.close()
    window = Console(width=60, record=True)
    window.print(view._picture())
    lines = window.export_text().splitlines()
    assert any("none" in line and "0/3" in line for line in lines)
    assert all(len(line) <= 60 for line in lines)


@pytest.mark.slow
def test_a_sweep_whose_runs_fail_when_trained_anew_says_so_and_exits_with_1(bnlab_says: Say) -> None:
    norms = Path(__file__).parents[1] / "sweeps" / "troubled_norms.py"
    shutil.copy(norms, Path.cwd())
    words = [*QUICK, "norm=troubled_norms:Troubled", "norm.trouble=trouble.txt", "name=t"]
    assert bnlab_says("sweep", *words, "--jobs", "1").status == 0
    for path in Path("runs/t").glob("*/manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "ended": "2020-01-01T00:00:00+00:00"}))
    Path("trouble.txt").write_text("raise")
    answer = bnlab_says("sweep", *words, "--jobs", "1", "--again")
    assert answer.status == 1
    assert "two and two are five" in answer.out


def test_the_view_tells_of_a_full_disk_once(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console  # noqa: PLC0415  (the console must see the captured stream)

    sweep = plan_sweep([*QUICK, "norm=none", "seed=0,1,2", "name=full"])
    view = PlainSweepView(Console(), SweepProgress(sweep, list(sweep.configs)))
    for name in sweep.configs:
        view.take({"failed": [name], "reason": "there is no room in runs/full", "no_room": True})
    view.close()
    assert capsys.readouterr().out.count("there is no room") == 1


def _mounts() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


@pytest.mark.slow
@pytest.mark.skipif(not _mounts(), reason="a small disk is mounted, which root alone may")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["sweep.engine=sequential", "norm=none", "seed=range(9)", "--jobs", "2"], id="by workers"),
        pytest.param(["sweep.engine=vectorized", "norm=none,layer", "seed=range(4)", "--jobs", "1"], id="together"),
    ],
)
def test_a_sweep_on_a_disk_that_fills_says_so_in_a_few_lines_and_goes_on_when_there_is_room(
    bnlab_says: Say, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # one process for the parts of both jobs: another one would import torch too
    monkeypatch.setattr(local, "ProcessPoolExecutor", lambda _, **options: ProcessPoolExecutor(1, **options))
    monkeypatch.setattr(local, "end_workers", lambda: None)  # which each of the two commands does at its end
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount")
    words = ["data=digits", "train.steps=60", "loggers=[tensorboard]", "--runs", str(disk / "runs"), "--json", *words]
    try:
        full = bnlab_says("sweep", *words)
        rows = [json.loads(line) for line in full.out.splitlines()]
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        later = bnlab_says("sweep", *words)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        end_workers()
    assert full.status == 1
    assert len(full.err.splitlines()) <= 8
    assert "Traceback" not in full.err
    seeds = list(range(9)) if "norm=none" in words else 2 * list(range(4))
    assert [row["seed"] for row in rows] == seeds
    assert {row["status"] for row in rows} <= {"finished", "failed", "interrupted"}
    assert 0 < sum(row["status"] == "finished" for row in rows) < len(rows)
    assert later.status == 0
    again = [json.loads(line) for line in later.out.splitlines()]
    assert [row["cached"] for row in again] == [row["status"] == "finished" for row in rows]
    assert {row["status"] for row in again} == {"finished"}


@pytest.mark.slow
def test_a_sweep_that_is_there_already_does_not_wait_for_torch() -> None:
    words = ["sweep", "data=synthetic", "train.steps=3", "model.width=4", "diagnostics=none", "seed=0,1", "name=s"]
    code = (
        "import sys\n"
        f"sys.argv = ['bnlab', *{words}, '--jobs', '1']\n"
        "from bnlab.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as ending:\n    print('ended', ending.code, 'torch' in sys.modules)\n"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [one.stdout.splitlines()[-1] for one in said] == ["ended 0 True", "ended 0 False"]
