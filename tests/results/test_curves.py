import json
from pathlib import Path

import numpy as np
import pytest
from fake_sweep import run_folder, sweep_of
from scipy import stats

from bnlab.report.lr_sensitivity.summary import read_sensitivity
from bnlab.results.curves import Arm, read_sweep_arms
from bnlab.results.sweep import read_sweep


def arms_in(sweep: Path) -> dict[str, Arm]:
    return {arm.name: arm for arm in read_sweep_arms(read_sweep(sweep))}


def test_an_arm_is_the_mean_over_seeds_at_its_best_learning_rate_with_students_interval(tmp_path: Path) -> None:
    at_best = [[2.0, 1.0, 0.30], [2.2, 1.3, 0.25], [1.9, 0.8, 0.41]]
    for seed, losses in enumerate(at_best):
        run_folder(tmp_path, "batch", 0.1, seed, losses)
        run_folder(tmp_path, "batch", 1.0, seed, [2.0, 1.0, 0.5])
        run_folder(tmp_path, "none", 0.1, seed, [2.0, 1.5, 1.2])
        run_folder(tmp_path, "none", 1.0, seed, [2.0, 1.5, 1.1])
    arms = arms_in(tmp_path)
    assert {name: arm.best.lr for name, arm in arms.items()} == {"batch": 0.1, "none": 1.0}
    curve = arms["batch"].curves["eval/loss"]
    values = np.array(at_best, dtype=np.float64)
    low, high = stats.t.interval(0.95, df=2, loc=values.mean(0), scale=stats.sem(values))
    assert curve.steps == (0, 10, 20)
    np.testing.assert_allclose(curve.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(curve.low, np.maximum(low, 0), rtol=1e-12)
    np.testing.assert_allclose(curve.high, high, rtol=1e-12)
    assert arms["batch"].curves["train/loss"].steps == (10, 20)


def test_the_response_covers_every_learning_rate_and_counts_a_diverged_run_as_its_start(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.0, 0.5])
    run_folder(tmp_path, "none", 0.1, 1, [2.5, 1.0, 0.7])
    run_folder(tmp_path, "none", 1.0, 0, [2.0, float("inf")], status="diverged", diverged_at=7)
    run_folder(tmp_path, "none", 1.0, 1, [2.5, 2.0, 0.1])
    run_folder(tmp_path, "none", 10.0, 0, [2.0, 50.0, 7.0])  # it did not diverge, but lost more than it had
    run_folder(tmp_path, "none", 10.0, 1, [2.5, float("nan")], status="diverged", diverged_at=1)
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert [(r.lr, r.num_seeds, r.num_diverged) for r in arm.responses] == [(0.1, 2, 0), (1.0, 2, 1), (10.0, 2, 1)]
    assert [r.loss.value for r in arm.responses] == pytest.approx([0.6, (2.0 + 0.1) / 2, (2.0 + 2.5) / 2])
    # accuracy is 1 - loss / 10
    assert [r.accuracy.value for r in arm.responses] == pytest.approx([0.94, (0.8 + 0.99) / 2, (0.8 + 0.75) / 2])
    assert arm.best.lr == 0.1


def test_in_the_best_learning_rate_a_diverged_run_counts_as_its_start_as_it_does_in_the_study(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.9, 1.9])
    run_folder(tmp_path, "none", 0.1, 1, [2.0, 1.9, 1.9])
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.1, 0.1])
    run_folder(tmp_path, "none", 1.0, 1, [2.0, 9.0], status="diverged", diverged_at=5)
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert arm.best.lr == 1.0 == read_sensitivity(tmp_path).arms[0].figures.best_by_loss.value  # (0.1 + 2) / 2 < 1.9


def test_where_every_learning_rate_diverges_the_curve_falls_back_to_the_start_and_does_not_end(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    run_folder(tmp_path, "none", 1.0, 1, [3.0, 1e30], status="diverged", diverged_at=8)
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert arm.curves["eval/loss"].mean == pytest.approx([2.5, (0.4 + 3.0) / 2, (0.2 + 3.0) / 2])
    # nothing is to be said of the inside of a network that is lost
    assert arm.curves["saturation/hidden1"].mean == pytest.approx([0.5, (10 + 11) / 2, 20])


def test_values_that_no_seed_has_make_no_curve(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert "saturation/hidden1" in arm.curves
    assert "saturation/hidden2" not in arm.curves  # NaN at every step


def test_one_seed_has_a_band_of_no_width_and_no_interval(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    curve = arm.curves["eval/loss"]
    assert curve.low == curve.mean == curve.high
    assert (arm.best.loss.low, arm.best.loss.n) == (None, 1)


def test_an_interval_stays_where_the_figure_can_be(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.01, 0.01])
    run_folder(tmp_path, "none", 1.0, 1, [9.9, 0.9, 0.9])
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert min(arm.curves["eval/loss"].low) == 0.0
    assert max(arm.curves["eval/accuracy"].high) == 1.0
    assert arm.curves["saturation/hidden1"].low[0] < 0  # of this nothing is known


def test_runs_that_have_not_ended_are_left_out_until_they_have(tmp_path: Path) -> None:
    ids = [run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0, 0.5])]
    ids.append(run_folder(tmp_path, "batch", 0.1, 1, [2.0, 1.0], status="running"))
    ids.append(run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.0], status="failed"))
    arms = arms_in(sweep_of(tmp_path, ids, ["norm=batch,none", "seed=0,1"]))
    assert list(arms) == ["batch"]
    assert arms["batch"].best.num_seeds == 1


def test_a_damaged_run_costs_no_other_run_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0, 0.5])
    no_manifest = tmp_path / run_folder(tmp_path, "batch", 0.1, 1, [2.0, 1.0, 0.7])
    (no_manifest / "manifest.json").write_text("{")
    run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.0, 0.5])
    no_curve = tmp_path / run_folder(tmp_path, "none", 0.1, 1, [2.0, 1.0, 0.7])
    (no_curve / "metrics.jsonl").write_text("damaged\n")
    arms = arms_in(tmp_path)
    assert arms["batch"].best.num_seeds == 1
    assert arms["none"].best.loss.value == pytest.approx(0.6)  # its summary tells how it ended
    assert arms["none"].curves["eval/loss"].mean == pytest.approx([2.0, 1.0, 0.5])
    assert "metrics.jsonl, line 1 is damaged" in caplog.text


def test_arms_are_named_by_all_that_is_swept_but_learning_rate_and_seed(tmp_path: Path) -> None:
    for norm in ("batch", "none"):
        for depth in (1, 5):
            for lr in (0.1, 1.0):
                run_folder(tmp_path, norm, lr, 0, [2.0, 1.0, 0.5], settings={"depth": depth})
    assert sorted(arms_in(tmp_path)) == ["batch-depth=1", "batch-depth=5", "none-depth=1", "none-depth=5"]


@pytest.mark.parametrize("twin", ["Norm", "norm"])  # the same folder, where case tells no folder from another
def test_two_arms_never_share_a_name(tmp_path: Path, twin: str) -> None:
    for number, norm in enumerate(("mine.layers:Norm", f"yours.layers:{twin}")):
        run_id = run_folder(tmp_path / "made", f"n{number}", 0.1, 0, [2.0, 1.0, 0.5])
        manifest = tmp_path / "made" / run_id / "manifest.json"
        manifest.write_text(manifest.read_text().replace(f'"n{number}"', f'"{norm}"'))
    assert list(arms_in(tmp_path / "made")) == ["Norm", f"{twin}-2"]


@pytest.mark.parametrize("num_seeds", [2, 5, 16])
def test_a_sweep_over_seeds_alone_is_one_arm(tmp_path: Path, num_seeds: int) -> None:
    for seed in range(num_seeds):
        run_folder(tmp_path, "batch", 0.1, seed, [2.0, 1.0, 0.5 + seed / 100])
    (arm,) = read_sweep_arms(read_sweep(tmp_path))
    assert (arm.name, len(arm.responses), arm.best.loss.n) == ("batch", 1, num_seeds)


def test_an_arm_has_only_the_diagnostics_that_its_config_names(tmp_path: Path) -> None:
    for seed, shown in enumerate((["saturation"], [], None)):
        sweep = tmp_path / str(seed)
        run = sweep / run_folder(sweep, "batch", 0.1, seed, [2.0, 1.0, 0.5])
        if shown is not None:
            manifest = json.loads((run / "manifest.json").read_text())
            manifest["config"]["diagnostics"] = {"name": "full", "tensorboard": shown}
            (run / "manifest.json").write_text(json.dumps(manifest))
        (arm,) = arms_in(sweep).values()
        assert ("saturation/hidden1" in arm.curves) == (shown != [])
