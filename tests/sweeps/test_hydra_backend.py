"""A launcher of Hydra's trains parts, where somebody's own file names one that bnlab has no backend for."""

import sys
from pathlib import Path

import pytest
from folded import folded
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from bnlab.sweeps.backends.hydra import quoted
from bnlab.sweeps.execute import run_sweep

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "model.width=8", "norm=none,layer"]
QUICK += ["diagnostics=none", "loggers=[]"]
BASIC = "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"


def write_launcher(text: str) -> None:
    folder = Path("conf/hydra/launcher")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text)


@pytest.mark.slow
def test_a_launcher_of_hydras_trains_the_parts_and_leaves_no_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_launcher(BASIC)
    before = sys.argv.copy(), GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    result = run_sweep([*QUICK, "hydra/launcher=mine"], runs=tmp_path / "a '${x} b\\")
    assert [summary.status for summary in result.summaries] == ["finished", "finished"]
    assert (sys.argv, GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before
    assert capfd.readouterr().out == ""
    left = {path.name for path in result.folder.iterdir()}
    assert left == {".locks", "sweep.json", *(summary.run_id for summary in result.summaries)}


@pytest.mark.slow
def test_what_a_launcher_raises_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    write_launcher(BASIC)

    def fail(*_: object) -> None:
        raise RuntimeError("the cluster is gone")

    name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    monkeypatch.setattr(Plugins.instance().class_name_to_class[name], "launch", fail)
    result = run_sweep([*QUICK, "hydra/launcher=mine"])
    assert set(result.reasons.values()) == {"it could not begin: the cluster is gone"}
    assert len(result.reasons) == 2


@folded(
    "text",
    ["a b", "it's", "${x}", "a$b", "\\${x}", "\\\\${x}", "a\\b", "a\\'b", "end\\", "${x}'${y}\\\\", "a,b=c"],
)
def test_hydra_reads_any_folder_as_it_is(text: str) -> None:
    override = OverridesParser.create().parse_override(f"folder={quoted(text)}")
    assert not override.is_sweep_override()
    config = OmegaConf.create({"folder": None})
    OmegaConf.update(config, "folder", override.value())
    assert config.folder == text
