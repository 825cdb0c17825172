"""Runs from before a setting was added keep their ids, and are read, loaded and repeated as today's."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import bnlab
from bnlab.config.compose import compose_run
from bnlab.experiment.rerunning import rerun
from bnlab.identity.run_id import run_id
from bnlab.later_settings import LATER_SETTINGS
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig

WORDS = ["data=digits", "data.limit=200", "train.steps=5", "model.width=8", "diagnostics=none"]


def test_a_config_without_them_is_the_config_of_a_run_with_the_same_id() -> None:
    config = compose_run(WORDS)
    facts = config.as_dict()
    for key in LATER_SETTINGS:
        section, _, name = key.partition(".")
        del facts[section][name]
    earlier = RunConfig.model_validate(facts)
    assert earlier == config
    assert run_id(earlier) == run_id(config)


def test_what_is_no_config_is_refused_by_its_type() -> None:
    with pytest.raises(ValueError, match="valid dictionary"):
        RunConfig.model_validate(3)


@pytest.fixture
def earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bnlab.RunSummary:
    """Return a run whose files lack all that was added later."""
    monkeypatch.chdir(tmp_path)
    summary = bnlab.train([*WORDS, "accept=[statistics_not_settled]"])
    folder = Path(summary.folder)
    config, manifest = (folder / name for name in ("config.yaml", "manifest.json"))
    settings, facts = yaml.safe_load(config.read_text()), json.loads(manifest.read_text())
    for key in LATER_SETTINGS:
        section, _, name = key.partition(".")
        del settings[section][name], facts["config"][section][name]
    config.write_text(yaml.dump(settings))
    manifest.write_text(json.dumps(facts))
    return summary


@pytest.mark.slow
def test_an_earlier_run_is_found_read_loaded_and_repeated(earlier_run: bnlab.RunSummary) -> None:
    again = bnlab.train([*WORDS, "accept=[statistics_not_settled]"])
    assert again.cached
    assert again.run_id == earlier_run.run_id
    (row,) = bnlab.read_runs("runs").to_dict("records")
    assert {key: row[key] for key in LATER_SETTINGS} == LATER_SETTINGS
    weights = torch.load(Path(earlier_run.folder) / "checkpoint.pt", weights_only=True)["model"]
    for name, value in bnlab.load_model(earlier_run.folder).state_dict().items():
        assert torch.equal(value, weights[name])
    agreement, _ = rerun(RunFolder(Path(earlier_run.folder)))
    assert agreement.verdict == "identical"
    assert not {key for key in agreement.changed if key.startswith("config")}
