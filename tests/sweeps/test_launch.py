"""Launchers: what is said of one that is not there, what reaches one that is, and what is made of its errors."""

import importlib.util
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from bnlab.errors import ConfigError
from bnlab.sweeps.execute import run_sweep
from bnlab.sweeps.jobs import why_a_job_died
from bnlab.sweeps.launch import _quoted, has_a_process_per_part, launcher_class, starts_all_at_once
from bnlab.sweeps.plan import is_search, plan_sweep
from bnlab.sweeps.search import plan_search

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "model.width=8", "seed=0,1"]


def is_installed(plugin: str) -> bool:
    return importlib.util.find_spec(f"hydra_plugins.{plugin}") is not None


@pytest.mark.parametrize(
    ("word", "plugin", "extra"),
    [
        ("hydra/launcher=slurm", "hydra_submitit_launcher", "slurm"),
        ("hydra/launcher=submitit_local", "hydra_submitit_launcher", "slurm"),
        ("hydra/launcher=ray_cluster", "hydra_ray_launcher", "ray"),
        ("hydra/sweeper=optuna", "hydra_optuna_sweeper", "optuna"),
    ],
)
def test_a_launcher_that_is_not_installed_gives_the_extra_that_brings_it(word: str, plugin: str, extra: str) -> None:
    if is_installed(plugin):
        pytest.skip(f"{plugin} is installed")
    with pytest.raises(ConfigError, match=rf"is not installed\. Install it by pip install 'bnlab\[{extra}\]'\.$"):
        (plan_search if is_search([word]) else plan_sweep)([*QUICK, word])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra/launcher=jobilb"], r"hydra/launcher=jobilb is not known. Did you mean joblib\?"),
        (["hydra/lancher=joblib"], r"hydra/lancher is not a choice of Hydra's. Did you mean hydra/launcher\b"),
        (["hydra.launcher.n_job=2"], r"hydra.launcher.n_job is not a setting. Did you mean n_jobs\b"),
        (["hydra.launcher.n_jobs=two"], "hydra.launcher.n_jobs=two: Value 'two' .* could not be converted to Integer"),
        (["hydra.launcher=joblib"], "hydra.launcher=joblib: .* is a section. Write hydra/launcher=joblib."),
    ],
)
def test_a_word_about_the_launcher_that_is_wrong_stops_the_sweep_before_it_begins(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        plan_sweep([*QUICK, *words])
    assert not Path("runs").exists()


def test_a_launcher_of_ones_own_is_found_where_own_options_are() -> None:
    folder = Path("conf/hydra/launcher")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults:\n  - joblib\nn_jobs: 3\n")
    sweep = plan_sweep([*QUICK, "hydra/launcher=mine"])
    assert launcher_class(tuple(sweep.launcher)).endswith(".JoblibLauncher")


def test_words_about_the_launcher_belong_to_no_run_and_to_no_name() -> None:
    plain, launched = plan_sweep(QUICK), plan_sweep([*QUICK, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert launched.folder == plain.folder
    assert launched.configs == plain.configs
    assert launched.launcher == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def test_only_submitit_starts_a_process_per_part() -> None:
    assert not has_a_process_per_part([])
    assert not starts_all_at_once(["hydra/launcher=joblib"])
    if is_installed("hydra_submitit_launcher"):
        assert has_a_process_per_part(["hydra/launcher=slurm"])
        assert not starts_all_at_once(["hydra/launcher=slurm"])
        assert starts_all_at_once(["hydra/launcher=submitit_local"])


def raised_by(package: str, text: str) -> Exception:
    error = type("TheirError", (Exception,), {"__module__": f"{package}.errors"})
    return error(text)


@pytest.mark.parametrize(
    ("package", "text", "said"),
    [
        ("builtins", "no such partition\nsee above", "no such partition"),
        ("builtins", "", "TheirError"),
        ("ray", "ray::_run_job() (pid=1)\n  File x\nModuleNotFoundError: no bnlab", "ModuleNotFoundError: no bnlab"),
        (
            "submitit",
            "Job 7_1 (task: 0) with path /7_1_0_result.pkl\nhas not produced any output (state: OUT_OF_MEMORY)\n"
            "Error stream produced:\n----------------------------------------\nsrun: one\nsrun: Killed\n",
            "its job ended as OUT_OF_MEMORY: srun: Killed",
        ),
        (
            "submitit",
            "Job 2 (task: 0) with path /2_0_result.pkl\nhas not produced any output (state: FAILED)\n"
            "No output/error stream produced ! Check: /2_0_log.out",
            "its job ended as FAILED",
        ),
        (
            "submitit",
            "Job (task=0) failed during processing with trace:\n----------------------\nTraceback\nKeyError: 'x'\n\n"
            "----------------------\nYou can check full logs with 'job.stderr(0)'or at paths:\n  - /e\n  - /o",
            "KeyError: 'x'",
        ),
    ],
)
def test_one_line_is_left_of_what_a_launcher_raises(package: str, text: str, said: str) -> None:
    assert why_a_job_died(raised_by(package, text)) == said


@pytest.mark.parametrize(
    "text",
    ["a b", "it's", "${x}", "a$b", "\\${x}", "\\\\${x}", "a\\b", "a\\'b", "end\\", "${x}'${y}\\\\", "a,b=c"],
)
def test_hydra_reads_any_folder_as_it_is(text: str) -> None:
    override = OverridesParser.create().parse_override(f"folder={_quoted(text)}")
    assert not override.is_sweep_override()
    config = OmegaConf.create({"folder": None})
    OmegaConf.update(config, "folder", override.value())
    assert config.folder == text


def test_workers_find_a_runs_folder_whose_name_looks_like_an_interpolation(tmp_path: Path) -> None:
    words = [*QUICK[:3], "model.width=8", "norm=none,layer", "diagnostics=none", "loggers=[]"]
    result = run_sweep(words, runs=tmp_path / "a '${x} b\\", jobs=2)
    assert [summary.status for summary in result.summaries] == ["finished", "finished"]
