"""`bnlab.plot` and the summaries that a notebook shows."""

import math
from pathlib import Path

import pytest
from fake_sweep import run_folder, sweep_of

import bnlab
from bnlab.records import RunSummary


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "runs" / "mine"
    runs = [
        run_folder(folder, norm, lr, seed, [2.3, 1.0, 0.5 + seed / 10 + lr / 10])
        for norm in ("batch", "none")
        for lr in (0.1, 1.0)
        for seed in (0, 1, 2)
    ]
    sweep_of(folder, runs)


def lines_of(figure: "object", panel: int) -> list[list[float]]:
    axes = figure.get_axes()[panel]  # type: ignore[attr-defined]
    return [list(line.get_ydata()) for line in axes.get_lines()]


def test_curves_of_a_sweep_are_the_means_of_its_arms_at_their_best_rate() -> None:
    figure = bnlab.plot.curves("mine")
    assert [axes.get_title(loc="left") for axes in figure.get_axes()] == ["loss", "accuracy"]
    validation = [line for line in lines_of(figure, 0) if len(line) == 3]
    assert len(validation) == 2
    for line in validation:
        assert line == pytest.approx([2.3, 1.0, 0.5 + 0.1 + 0.01])
    assert len(figure.get_axes()[0].collections) == 2  # a band each


def test_curves_of_one_run_are_its_own() -> None:
    figure = bnlab.plot.curves("mine", where=["norm=batch", "seed=2", "lr=0.1"])
    assert [2.3, 1.0, pytest.approx(0.71)] in lines_of(figure, 0)
    assert not figure.get_axes()[0].collections


@pytest.mark.slow
def test_figures_are_shown_by_a_notebook_and_take_a_summary_of_a_run() -> None:
    summary = bnlab.train(["data=synthetic", "train.steps=3", "model.width=8", "accept=[statistics_not_settled]"])
    figure = bnlab.plot.curves(summary)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert bnlab.plot.saturation(summary).get_axes()
    assert bnlab.plot.lr_sensitivity("mine").get_axes()


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(bnlab.ConfigError, match="a figure needs a run"):
        bnlab.plot.curves()
    with pytest.raises(bnlab.ConfigError, match="Did you mean mine"):
        bnlab.plot.curves("mien")
    with pytest.raises(bnlab.ConfigError, match="no run has recorded gradient_norm"):
        bnlab.plot.diagnostic("gradient_norm", "mine")


def test_a_summary_is_a_table_in_which_no_text_of_a_user_is_obeyed() -> None:
    summary = RunSummary("batch<b>", "finished", "/runs/<i>", 3, test_accuracy=0.915, test_loss=0.31, steps=1500)
    shown = summary._repr_html_()
    assert "91.5%" in shown
    assert "1,500 steps" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "nan" not in RunSummary("a", "failed", "b", 0)._repr_html_().lower()
    assert math.isclose(summary.test_accuracy or 0, 0.915)
