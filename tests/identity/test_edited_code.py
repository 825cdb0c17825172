"""An own layer or instrument is edited between two trainings: never an old number under new code."""

import importlib
import importlib.metadata
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_modules import write

import bnlab
from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.identity.changes import other_versions, refuse_code_that_changed_here
from bnlab.identity.own_parts import own_places
from bnlab.identity.run_id import run_id
from bnlab.norms.catalog import build_norm
from bnlab.own_code import modules as own_modules_of_the_process
from bnlab.own_code.modules import forget_loaded
from bnlab.results.sweep import read_sweep
from bnlab.runfolder.finding import find_run
from bnlab.runfolder.index import read_run_rows
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.execute import run_sweep
from bnlab.sweeps.parts import Part, read_part
from bnlab.sweeps.plan import plan_sweep
from bnlab.sweeps.worker import train_cohorts

ED = """
import torch
import helper
class Norm(torch.nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.inner = torch.nn.GroupNorm(1, num_channels)
    def forward(self, x):
        return self.inner(x) * helper.K
"""


RUN = ["norm=ed:Norm", "data=synthetic", "train.steps=3", "diagnostics=none", "loggers=[]"]


@pytest.fixture
def ed(here: Path) -> Path:
    """A folder with the module ed, whose layer multiplies by the number in the module helper."""
    write(here, ed=ED, helper="K = 1.0\n")
    return here


def in_a_new_process(place: str = "ed:Norm") -> None:
    """Forget the modules, as a new process has not imported them."""
    forget_loaded(place)
    importlib.invalidate_caches()


def test_an_edited_layer_makes_another_run(ed: Path) -> None:
    first = bnlab.train(RUN)
    assert bnlab.train(RUN).cached
    write(ed, helper="K = 0.01\n")
    in_a_new_process()
    second = bnlab.train(RUN)
    assert not second.cached
    assert second.run_id != first.run_id
    assert second.test_loss != first.test_loss
    write(ed, helper="K = 1.0  # as it was\n")
    in_a_new_process()
    assert bnlab.train(RUN) == first.__class__(**{**first.as_dict(), "cached": True})


def test_a_process_that_has_the_old_code_is_refused_until_it_has_the_new_one(ed: Path) -> None:
    bnlab.train(RUN)
    write(ed, helper="K = 0.01\n")
    with pytest.raises(
        ConfigError,
        match=r"norm=ed:Norm: in this process helper is not what the file says.* Restart Python, or call importlib",
    ):
        bnlab.train(RUN)
    with pytest.raises(ConfigError, match="helper is not what the file says"):
        run_sweep([*RUN, "seed=0,1"])
    importlib.reload(sys.modules["helper"])
    assert not bnlab.train(RUN).cached


@pytest.mark.slow
def test_old_and_new_code_are_two_arms_of_a_sweep(ed: Path) -> None:
    words = [*RUN, "name=both", "seed=0,1"]
    old = run_sweep(words)
    write(ed, helper="K = 0.01\n")
    in_a_new_process()
    new = run_sweep([*RUN, "name=both", "seed=0,1,2"])
    assert not any(summary.cached for summary in new.summaries)
    (old.folder / "sweep.json").unlink()  # else the plan of the second sweep tells which runs are shown
    arms = read_sweep(old.folder).read_arms().arms
    assert sorted(len(arm.seeds) for arm in arms) == [2, 3]
    assert len({arm.label for arm in arms}) == 2
    assert all("code=" in arm.label for arm in arms)


def test_what_was_saved_under_other_code_is_told(ed: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = bnlab.train(RUN)
    folder = find_run(run.run_id)
    manifest = folder.read_manifest()
    assert list(manifest["code"]["norm"]["modules"]) == ["ed", "helper"]
    write(ed, helper="K = 0.01\n")
    in_a_new_process()
    with caplog.at_level(logging.WARNING, "bnlab"):
        bnlab.load_model(run.folder)
    assert "was trained with other code of helper (of norm=ed:Norm)" in caplog.text
    from bnlab.experiment.rerunning import rerun  # noqa: PLC0415

    with pytest.raises(ConfigError, match=r"another run today: the code of helper \(of norm=ed:Norm\) has changed"):
        rerun(folder)
    write(ed, helper="K = 1.0\n")
    in_a_new_process()
    caplog.clear()
    assert rerun(folder)[0].verdict == "identical"
    bnlab.load_model(run.folder)
    assert "other code" not in caplog.text


@pytest.mark.usefixtures("ed")
def test_results_of_other_versions_are_told(caplog: pytest.LogCaptureFixture) -> None:
    run = bnlab.train(RUN)
    path = Path(run.folder) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["versions"] |= {"torch": "1.0", "rich": "1.0", "einops": "0.1"}  # rich computes nothing
    path.write_text(json.dumps(manifest))
    with caplog.at_level(logging.WARNING, "bnlab"):
        assert bnlab.train(RUN).cached
    assert "was trained with torch 1.0, now" in caplog.text
    assert "einops 0.1, now not installed" in caplog.text
    assert "rich" not in caplog.text


@pytest.mark.slow
def test_the_installed_packages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.versions_of_imports({"yaml"})
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: pytest.fail("they are read again"))
    assert provenance.versions_of_imports({"yaml"}).keys() == {"PyYAML"}


def test_what_is_in_no_hash_is_told_before_training(ed: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(ed, ed=ED.replace("helper.K", "float(__import__('pathlib').Path('k').read_text())"))
    (ed / "k").write_text("1.0")
    with caplog.at_level(logging.WARNING, "bnlab"):
        bnlab.train(RUN)
    assert "norm=ed:Norm: ed reads a file (read_text, line 9). A change of it is not noticed: after one" in caplog.text
    caplog.clear()
    assert bnlab.train(RUN).cached
    assert "is not noticed" in caplog.text, "that is when it matters"
    assert any("is not noticed" in text for text in plan_sweep(RUN).warnings)


def test_an_edited_instrument_measures_anew(here: Path) -> None:
    source = """
from bnlab.diagnostics.updates import UpdateRatio
class Mine(UpdateRatio):
    name = "mine"
    def measure(self, *given):
        return {key: value * 1.0 for key, value in super().measure(*given).items()}
"""
    words = ["data=synthetic", "train.steps=3", "diagnostics=none", "diagnostics.names=[mine:Mine]", "loggers=[]"]

    def measured() -> list[Any]:
        in_a_new_process("mine:Mine")
        records = list(find_run(bnlab.train(words).run_id).read_records())
        return [record["values"] for record in records if record["name"] == "mine"]

    write(here, mine=source)
    before = measured()
    write(here, mine=source.replace("1.0", "100.0"))
    after = measured()
    assert before[-1].keys() == after[-1].keys() != set()
    assert all(after[-1][key] == pytest.approx(100 * value) for key, value in before[-1].items())
    rows = read_run_rows(Path("runs"))
    assert len({row["diagnostics.code"] for row in rows}) == 2
    assert all("norm.code" not in row for row in rows)


def part_of(words: list[str]) -> Part:
    """A part with one run, planned with the code as it is now, as a worker reads it."""
    config = compose_run(words)
    part = Part(
        [PlannedCohort("sequential", (config,))], Path("runs/sweep").absolute(), [], again=False, stop_on_error=False
    )
    part.write(Path("part-0.json"))
    return read_part(Path("part-0.json"))


def test_a_worker_refuses_code_that_changed_after_the_sweep_was_planned(ed: Path) -> None:
    part = part_of(RUN)
    write(ed, helper="K = 0.01\n")
    said: list[dict[str, Any]] = []
    train_cohorts(part, ed, said.append)
    assert said[-1]["failed"] == list(part.cohorts[0].run_ids)
    assert "changed after the sweep had been planned. Sweep again." in said[-1]["reason"]
    assert not Path("runs").exists()


def test_a_worker_that_stays_from_an_earlier_sweep_imports_the_new_code(ed: Path) -> None:
    train_cohorts(part_of(RUN), ed, lambda _: None)
    assert sys.modules["helper"].K == 1.0
    write(ed, helper="K = 0.01\n")
    kept, remembered = {name: sys.modules[name] for name in ("ed", "helper")}, dict(own_modules_of_the_process._loaded)
    in_a_new_process()
    part = part_of(RUN)  # by the process of the sweep, which has not imported them
    sys.modules.update(kept)  # in the worker
    own_modules_of_the_process._loaded.update(remembered)
    said: list[dict[str, Any]] = []
    train_cohorts(part, ed, said.append)
    assert not any("failed" in one for one in said)
    assert sys.modules["helper"].K == 0.01
    assert (Path("runs/sweep") / part.cohorts[0].run_ids[0] / "summary.json").exists()


def test_own_parts_are_those_outside_of_the_catalogs() -> None:
    words = ["norm=pack.layers:Mine", "diagnostics.names=[saturation,pack.instruments:Other]"]
    assert own_places(compose_run(words)) == {
        "norm": "pack.layers:Mine",
        "pack.instruments:Other": "pack.instruments:Other",
    }
    assert own_places(compose_run(["norm=batch"])) == {}


def test_built_in_parts_and_torch_layers_keep_the_ids_they_had() -> None:
    """They have had them since the first version with this schema."""
    assert run_id(compose_run(["norm=torch.nn:BatchNorm1d"])) == "BatchNorm1d-mlp-mnist_5k-lr0.1-s0-f274d6bb"
    assert run_id(compose_run(["norm=batch"])) == "batch-mlp-mnist_5k-lr0.1-s0-fce622ce"


def write_set(folder: Path, scale: float) -> str:
    """Write a data set under MNIST's file names, and return its folder."""
    images = (np.random.RandomState(0).rand(90, 6, 6) * scale).astype(np.uint8)
    labels = (np.arange(90) % 2).astype(np.int64)
    folder.mkdir()
    for split in ("train", "test"):
        np.savez(folder / f"mnist_{split}.npz", images=images, labels=labels)
    return str(folder)


@pytest.mark.slow
def test_data_of_the_same_name_in_two_folders_are_two_runs_and_two_arms(here: Path) -> None:
    one, other = (write_set(here / name, scale) for name, scale in (("one", 255), ("other", 99)))
    words = ["data=mnist", "train.steps=3", "diagnostics=none", "loggers=[]"]
    first, second = (bnlab.train([*words, f"data.root={root}"]) for root in (one, other))
    assert first.run_id != second.run_id
    assert first.test_loss != second.test_loss
    Path(one).rename("moved")
    assert bnlab.train([*words, f"data.root={here / 'moved'}"]).cached
    result = run_sweep([*words, f"data.root={here / 'moved'},{other}"])
    assert [summary.run_id for summary in result.summaries] == [first.run_id, second.run_id]
    sweep = read_sweep(result.folder)
    assert sweep.swept == ("data.root",)
    assert {row["data.content"] for row in sweep.rows}.isdisjoint({None})
    assert len(sweep.read_arms().arms) == 2


@pytest.mark.slow
def test_two_data_folders_that_are_exchanged_exchange_their_rows(here: Path) -> None:
    one, other = (write_set(here / name, scale) for name, scale in (("one", 255), ("other", 99)))
    words = ["data=mnist", "train.steps=3", "diagnostics=none", "loggers=[]", f"data.root={one},{other}", "name=w"]
    before = {row["data.root"]: row["test_loss"] for row in read_sweep(run_sweep(words).folder).rows}
    Path(one).rename("between")
    Path(other).rename(one)
    Path("between").rename(other)
    after = run_sweep([*words, "seed=0,1"])
    arms = {arm.label: arm for arm in read_sweep(after.folder).read_arms().arms}
    assert {arm.label: len(arm.seeds) for arm in arms.values()} == {f"root={one}": 2, f"root={other}": 2}
    rows = {row["data.root"]: row["test_loss"] for row in read_sweep(after.folder).rows if row["seed"] == 0}
    assert rows == {one: before[other], other: before[one]}


def test_a_module_that_was_imported_and_edited_before_bnlab_saw_it_is_refused(ed: Path) -> None:
    importlib.import_module("ed")
    write(ed, ed=ED.replace("* helper.K", "* 0.0"))
    with pytest.raises(ConfigError, match="ed is not what the file says"):
        bnlab.train(RUN)
    assert not Path("runs").exists()
    importlib.reload(sys.modules["ed"])
    assert not bnlab.train(RUN).cached


def test_a_number_that_was_edited_or_set_after_the_import_is_refused(ed: Path) -> None:
    helper = importlib.import_module("helper")
    write(ed, helper="K = 0.01\n")
    with pytest.raises(ConfigError, match="helper is not what the file says"):
        bnlab.train(RUN)
    write(ed, helper="K = 1.0\n")
    bnlab.train(RUN)
    helper.K = 0.5
    with pytest.raises(ConfigError, match="helper is not what the file says"):
        bnlab.train([*RUN, "seed=1"])
    helper.K = 1.0
    bnlab.train([*RUN, "seed=1"])
    sys.modules["ed"].Norm.forward = lambda self, x: self.inner(x) * 0.01
    with pytest.raises(ConfigError, match="ed is not what the file says"):
        bnlab.train([*RUN, "seed=2"])


def test_a_layer_whose_import_makes_its_helper_findable_is_refused(here: Path) -> None:
    write(here / "far", outer="K = 1.0\n")
    source = ED.replace(
        "import helper", f"import sys\nsys.path.insert(0, {str(here / 'far')!r})\nimport outer as helper"
    )
    write(here, ed=source)
    with pytest.raises(ConfigError, match="norm=ed:Norm finds outer only while it is imported"):
        bnlab.train(RUN)
    assert not Path("runs").exists()
    sys.path.remove(str(here / "far"))
    in_a_new_process()
    with pytest.raises(ConfigError, match="norm=ed:Norm finds outer only while it is imported"):
        run_sweep([*RUN, "seed=0,1"])


def test_the_same_name_in_two_folders_is_not_the_same_layer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, ids = compose_run(RUN), []
    for folder, factor in (("c", "1.0"), ("d", "0.0"), ("c", "1.0")):
        write(here / folder, ed=ED.replace("import helper", "").replace("helper.K", factor))
        monkeypatch.chdir(here / folder)
        if ids:
            with pytest.raises(ConfigError, match=r"it was imported from .*, and .* comes first now"):
                refuse_code_that_changed_here([config])
            importlib.reload(sys.modules["ed"])
        refuse_code_that_changed_here([config])
        build_norm("ed:Norm", 3)
        ids.append(run_id(config))
    write(here / "copied", ed=(here / "c" / "ed.py").read_text())
    monkeypatch.chdir(here / "copied")
    refuse_code_that_changed_here([config])
    (here / "c" / "ed.py").unlink()
    write(here / "copied", ed=ED)
    with pytest.raises(ConfigError, match="comes first now"):
        refuse_code_that_changed_here([config])
    assert ids[0] == ids[2] != ids[1]


def test_a_version_that_is_none_is_told_like_another_one() -> None:
    assert "torch [], now " in other_versions({"versions": {"torch": []}})
    assert other_versions({"versions": []}) == ""
    assert other_versions({"versions": {"": "1.0"}}) == " 1.0, now not installed"
