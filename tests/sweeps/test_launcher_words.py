"""The words about launchers: which backend they mean, and what is said of a word that is wrong."""

import importlib.util
from pathlib import Path

import pytest
from folded import folded

from bnlab.config.composition import search_path_words
from bnlab.config.folders import conf_folder
from bnlab.errors import ConfigError
from bnlab.sweeps import launcher_words
from bnlab.sweeps.backends.hydra import HydraBackend
from bnlab.sweeps.backends.local import LocalBackend
from bnlab.sweeps.backends.ray import RayBackend
from bnlab.sweeps.backends.slurm import SlurmBackend, SubmititBackend
from bnlab.sweeps.launcher_words import launcher_settings, open_backend
from bnlab.sweeps.plan import plan_sweep

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "model.width=8", "seed=0,1"]


@pytest.fixture
def _all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_words.importlib.util, "find_spec", lambda _: "found")
    launcher_settings.cache_clear()


@pytest.mark.usefixtures("_all_installed")
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ([], LocalBackend),
        (["hydra/launcher=joblib"], LocalBackend),
        (["hydra/launcher=basic"], LocalBackend),
        (["hydra/launcher=submitit_local"], SubmititBackend),
        (["hydra/launcher=submitit_slurm"], SlurmBackend),
        (["hydra/launcher=slurm", "hydra.launcher.partition=cpu"], SlurmBackend),
        (["hydra/launcher=ray"], RayBackend),
        (["hydra/launcher=ray_cluster", "hydra.launcher.ray.remote.max_retries=0"], RayBackend),
    ],
)
def test_a_launchers_name_means_a_backend(words: list[str], kind: type) -> None:
    assert type(open_backend(words, 2)) is kind


@pytest.mark.parametrize(
    ("words", "num_jobs"),
    [
        ([], 5),
        (["hydra/launcher=joblib"], 5),
        (["hydra.launcher.n_jobs=3"], 3),
        (["hydra.launcher.n_jobs=-1"], 5),
        (["hydra/launcher=basic"], 1),
    ],
)
def test_processes_of_this_machine_are_as_many_as_the_words_say(words: list[str], num_jobs: int) -> None:
    backend = open_backend(words, 5)
    assert isinstance(backend, LocalBackend)
    assert backend._num_jobs == num_jobs


@pytest.mark.usefixtures("_all_installed")
def test_settings_are_those_of_the_file_but_for_those_that_are_given() -> None:
    settings = launcher_settings(("hydra/launcher=slurm", "hydra.launcher.setup=[exit 7]", "hydra.launcher.mem_gb=8"))
    assert (settings["setup"], settings["mem_gb"], settings["cpus_per_task"]) == (["exit 7"], 8, 1)
    assert settings["partition"] is None  # of submitit_slurm.yaml
    assert settings["additional_parameters"] == {"requeue": True}


@pytest.mark.parametrize("name", ["slurm", "submitit_slurm", "submitit_local"])
def test_every_setting_of_submitit_is_known_to_it(name: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'bnlab[slurm]'")
    backend = open_backend([f"hydra/launcher={name}"], 2)
    assert isinstance(backend, SubmititBackend)
    if isinstance(backend, SlurmBackend):
        from submitit.slurm.slurm import _get_default_parameters  # noqa: PLC0415  (an extra)

        known = {"submitit_folder", "max_num_timeout", "name", "timeout_min", "mem_gb", "tasks_per_node"}
        assert set(launcher_settings((f"hydra/launcher={name}",))) - {"backend"} <= known | set(
            _get_default_parameters()
        )
    else:
        backend._executor(tmp_path)  # it raises where it does not know a setting


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("slurm", "submitit", "slurm"), ("submitit_local", "submitit", "slurm"), ("ray_cluster", "ray", "ray")],
)
def test_a_launcher_that_is_not_installed_gives_the_extra_that_brings_it(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        launcher_words.importlib.util, "find_spec", lambda one: None if one == package else find_spec(one)
    )
    launcher_settings.cache_clear()
    with pytest.raises(ConfigError) as raised:
        plan_sweep([*QUICK, f"hydra/launcher={name}"])
    cure = f"Install it by pip install 'bnlab[{extra}]'."
    assert str(raised.value) == f"hydra/launcher={name} needs {package}, which is not installed. {cure}"
    assert not Path("runs").exists()


@pytest.mark.usefixtures("_all_installed")
@folded(
    ("words", "said"),
    [
        (["hydra/launcher=jobilb"], r"hydra/launcher=jobilb is not known. Did you mean joblib\?"),
        (["hydra/lancher=joblib"], r"hydra/lancher is not a choice of Hydra's. Did you mean hydra/launcher\b"),
        (["hydra.launcher.n_job=2"], r"hydra.launcher.n_job is not a setting. Did you mean n_jobs\b"),
        (["hydra.launcher.n_jobs=two"], r"hydra.launcher.n_jobs must be a valid integer, got two\.$"),
        (["hydra.launcher.n_jobs=1,2"], r"hydra.launcher.n_jobs=1,2: a setting of a launcher has one value\.$"),
        (["hydra.launcher=joblib"], "hydra.launcher=joblib: .* is a section. Write hydra/launcher=joblib."),
        (["hydra/launcher=slurm", "hydra.launcher.partiton=cpu"], "hydra.launcher.partiton is .* mean partition"),
        (["hydra/launcher=slurm", "hydra.launcher.setup=exit"], r"hydra.launcher.setup must be a valid list, got exit"),
        (["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=1"], "hydra.launcher.ray.remote.num_gpus is not"),
        (["hydra.launcer.partition=cpu"], r"hydra.launcer.partition has no effect .* Did you mean hydra.launcher\?"),
        (["hydra.sweeper.n_trials=3"], "hydra.sweeper.n_trials has no effect without hydra/sweeper=optuna. Add"),
        (
            ["hydra/launcher=slurm", "hydra/launcher=ray"],
            "hydra/launcher is given twice: .*slurm and hydra/launcher=ray",
        ),
    ],
)
def test_a_word_about_the_launcher_that_is_wrong_stops_the_sweep_before_it_begins(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        plan_sweep([*QUICK, *words])
    assert not Path("runs").exists()


@pytest.mark.usefixtures("_all_installed")
def test_a_key_that_ray_knows_and_no_file_is_added_by_a_plus() -> None:
    settings = launcher_settings(("hydra/launcher=ray", "+hydra.launcher.ray.remote.num_gpus=1"))
    assert settings["ray"]["remote"] == {"num_gpus": 1}


def write_launcher(text: str) -> None:
    folder = Path("conf/hydra/launcher")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text)


def test_a_launcher_of_ones_own_is_found_where_own_options_are() -> None:
    write_launcher("defaults:\n  - joblib\nn_jobs: 3\n")
    sweep = plan_sweep([*QUICK, "hydra/launcher=mine"])
    backend = open_backend(sweep.launcher, 2)
    assert isinstance(backend, LocalBackend)
    assert backend._num_jobs == 3


def test_a_file_of_ones_own_may_name_a_launcher_of_hydras() -> None:
    write_launcher("_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n")
    words = ["hydra/launcher=mine", *search_path_words([conf_folder(), Path("conf").absolute()])]
    assert isinstance(open_backend(words, 2), HydraBackend)
    with pytest.raises(ConfigError, match=r"^hydra\.launcher\.no_such_key=1: "):
        open_backend([*words, "hydra.launcher.no_such_key=1"], 2)


def test_words_about_the_launcher_belong_to_no_run_and_to_no_name() -> None:
    plain, launched = plan_sweep(QUICK), plan_sweep([*QUICK, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert launched.folder == plain.folder
    assert launched.configs == plain.configs
    assert launched.launcher == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
