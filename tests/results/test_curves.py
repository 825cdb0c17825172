import json
from pathlib import Path

import numpy as np
import pytest
from fake_sweep import run_folder, sweep_of
from scipy import stats

from bnlab.records import EvalRecord
from bnlab.results.curves import Curve, read_best_curves
from bnlab.results.sweep import read_sweep
from bnlab.runfolder.json_lines import record_line


def curves_in(sweep: Path) -> dict[str, dict[str, Curve]]:
    """The curves of each arm, by its label."""
    return {arm.label: read_best_curves(arm) for arm in read_sweep(sweep).read_arms().arms}


def test_an_arm_is_the_mean_over_seeds_at_its_best_learning_rate_with_students_interval(tmp_path: Path) -> None:
    at_best = [[2.0, 1.0, 0.30], [2.2, 1.3, 0.25], [1.9, 0.8, 0.41]]
    for seed, losses in enumerate(at_best):
        run_folder(tmp_path, "batch", 0.1, seed, losses)
        run_folder(tmp_path, "batch", 1.0, seed, [2.0, 1.0, 0.5])
        run_folder(tmp_path, "none", 0.1, seed, [2.0, 1.5, 1.2])
        run_folder(tmp_path, "none", 1.0, seed, [2.0, 1.5, 1.1])
    curves = curves_in(tmp_path)
    assert curves["none"]["eval/loss"].mean[-1] == pytest.approx(1.1)  # that of 1.0
    curve = curves["batch"]["eval/loss"]
    values = np.array(at_best, dtype=np.float64)
    low, high = stats.t.interval(0.95, df=2, loc=values.mean(0), scale=stats.sem(values))
    assert curve.steps == (0, 10, 20)
    np.testing.assert_allclose(curve.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(curve.low, np.maximum(low, 0), rtol=1e-12)
    np.testing.assert_allclose(curve.high, high, rtol=1e-12)
    assert curves["batch"]["train/loss"].steps == (10, 20)


def test_the_runs_that_are_averaged_are_those_by_which_the_rate_was_chosen(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run_folder(tmp_path, "batch", 1.0, seed, [2.0, 1.0, 0.3 + seed])
        if seed != 1:
            run_folder(tmp_path, "batch", 0.1, seed, [2.0, 1.0, 1.9 + seed])
    (arm,) = read_sweep(tmp_path).read_arms().arms
    best = arm.best()
    assert best is not None
    assert (best.lr, arm.seeds) == (1.0, (0, 2))
    curve = read_best_curves(arm)["eval/loss"]
    assert curve.mean[-1] == pytest.approx((0.3 + 2.3) / 2)


def test_where_every_learning_rate_diverges_the_curve_falls_back_to_the_start_and_does_not_end(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    run_folder(tmp_path, "none", 1.0, 1, [3.0, 1e30], status="diverged", diverged_at=8)
    curves = curves_in(tmp_path)["none"]
    assert curves["eval/loss"].mean == pytest.approx([2.5, (0.4 + 3.0) / 2, (0.2 + 3.0) / 2])
    # diagnostics of a network that diverged mean nothing
    assert curves["saturation/hidden1"].mean == pytest.approx([0.5, (10 + 11) / 2, 20])


def test_values_that_no_seed_has_make_no_curve(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    curves = curves_in(tmp_path)["none"]
    assert "saturation/hidden1" in curves
    assert "saturation/hidden2" not in curves  # NaN at every step


def test_one_seed_has_a_band_of_no_width(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.4, 0.2])
    curve = curves_in(tmp_path)["none"]["eval/loss"]
    assert curve.low == curve.mean == curve.high


def test_an_interval_stays_where_the_figure_can_be(tmp_path: Path) -> None:
    run_folder(tmp_path, "none", 1.0, 0, [2.0, 0.01, 0.01])
    run_folder(tmp_path, "none", 1.0, 1, [9.9, 0.9, 0.9])
    curves = curves_in(tmp_path)["none"]
    assert min(curves["eval/loss"].low) == 0.0
    assert max(curves["eval/accuracy"].high) == 1.0
    assert curves["saturation/hidden1"].low[0] < 0  # the range of a diagnostic is not known


def test_runs_that_have_not_ended_are_left_out_until_they_have(tmp_path: Path) -> None:
    ids = [run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0, 0.5])]
    ids.append(run_folder(tmp_path, "batch", 0.1, 1, [2.0, 1.0], status="running"))
    ids.append(run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.0], status="failed"))
    curves = curves_in(sweep_of(tmp_path, ids, ["norm=batch,none", "seed=0,1"]))
    assert curves["batch"]["eval/loss"].mean == pytest.approx([2.0, 1.0, 0.5])
    assert curves["none"] == {}


def test_a_damaged_run_costs_no_other_run_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0, 0.5])
    no_manifest = tmp_path / run_folder(tmp_path, "batch", 0.1, 1, [2.0, 1.0, 0.7])
    (no_manifest / "manifest.json").write_text("{")
    run_folder(tmp_path, "none", 0.1, 0, [2.0, 1.0, 0.5])
    no_curve = tmp_path / run_folder(tmp_path, "none", 0.1, 1, [2.0, 2.0, 0.7])
    lines = (no_curve / "metrics.jsonl").read_text().splitlines()
    lines = [*lines[:5], "damaged", *lines[5:-1], record_line(EvalRecord(20, "test", {})), lines[-1]]
    (no_curve / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    curves = curves_in(tmp_path)
    assert curves["batch"]["eval/loss"].mean == pytest.approx([2.0, 1.0, 0.5])
    # cut short where it is damaged, so that its start and step 10 enter; the later step is that of the other run
    assert curves["none"]["eval/loss"].mean == pytest.approx([2.0, 1.5, 0.5])
    assert "metrics.jsonl, line 6 is damaged" in caplog.text


@pytest.mark.parametrize("num_seeds", [2, 5, 16])
def test_a_sweep_over_seeds_alone_is_one_arm(tmp_path: Path, num_seeds: int) -> None:
    for seed in range(num_seeds):
        run_folder(tmp_path, "batch", 0.1, seed, [2.0, 1.0, 0.5 + seed / 100])
    (arm,) = read_sweep(tmp_path).read_arms().arms
    best = arm.best()
    assert best is not None
    assert (arm.label, len(arm.compared), best.cell.mean("loss").n) == ("batch", 1, num_seeds)
    assert read_best_curves(arm)["eval/loss"].mean[-1] == pytest.approx(best.cell.mean("loss").value)


def test_an_arm_has_only_the_diagnostics_that_its_config_names(tmp_path: Path) -> None:
    for seed, named in enumerate((["saturation"], [], None)):
        sweep = tmp_path / str(seed)
        run = sweep / run_folder(sweep, "batch", 0.1, seed, [2.0, 1.0, 0.5])
        if named is not None:
            manifest = json.loads((run / "manifest.json").read_text())
            manifest["config"]["diagnostics"] = {"name": "full", "tensorboard": named}
            (run / "manifest.json").write_text(json.dumps(manifest))
        assert ("saturation/hidden1" in curves_in(sweep)["batch"]) == (named != [])
