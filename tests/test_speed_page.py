"""docs/speed.md has the figures that the benchmarks kept, and runs together are the runs alone."""

import json
import runpy
import sys
from typing import Any

import pytest
from folded import folded
from loaded_scripts import SCRIPTS, load_script

COHORTS = json.loads((SCRIPTS / "bench_results" / "cohorts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script("write_speed")


def test_the_page_has_the_figures_of_the_results(script: Any) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page()


@folded("name", COHORTS["rows"])
def test_runs_together_were_as_alone_in_float64(name: str) -> None:
    """test_stacked_runs.py and test_stacked_sequences.py train small ones of them again."""
    assert max(COHORTS["rows"][name]["difference"]["float64"].values()) <= 1e-8


@folded("optimizer", ["sgd", "muon"])
@folded("network", ["resnet post", "resnet pre", "resnet skipinit", "resnet nf", "residual_mlp"])
def test_residual_nets_are_among_them(network: str, optimizer: str) -> None:
    assert [name for name in COHORTS["rows"] if name.startswith(network) and name.endswith(f", {optimizer}")]


@pytest.fixture
def _able_to_import_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.mark.slow
@pytest.mark.usefixtures("_able_to_import_scripts")
def test_the_bench_of_networks_measures_without_real_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "mlp model.width=8 model.depth=1", "--rounds", "2", "--turn", "0.001"]
    monkeypatch.setattr(sys, "argv", ["bench_models.py", *words])
    runpy.run_path(str(SCRIPTS / "bench_models.py"), run_name="__main__")
    said = capsys.readouterr().out
    rows = [line.split()[3] for line in said.splitlines() if line.startswith(" mlp model.width=8 model.depth=1")]
    assert rows[:6] == ["none", "batch", "layer", "group", "rms", "batch"]
    assert "  plain, " in said


@pytest.mark.slow
@pytest.mark.usefixtures("_able_to_import_scripts")
def test_the_bench_of_cohorts_finds_no_difference_in_float64(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--only", "mlp, batch, sgd", "--rounds", "2", "--turn", "0.001", "--steps", "3", "model.width=4"]
    monkeypatch.setattr(sys, "argv", ["bench_cohorts.py", *words])
    runpy.run_path(str(SCRIPTS / "bench_cohorts.py"), run_name="__main__")
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(" mlp, batch"))
    assert max(float(figure) for figure in row.split()[3:5]) < 1e-12
