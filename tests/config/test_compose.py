import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from bnlab.config import kept
from bnlab.config.compose import compose_grid, compose_run, compose_tree, render_config
from bnlab.config.composition import INITIALIZE_OPTIONS, compose_by_hydra
from bnlab.config.folders import conf_folder, config_groups, config_keys, read_option
from bnlab.errors import ConfigError
from bnlab.schema import RunConfig


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("norm=bathc", "norm=bathc is not known. Did you mean batch"),
        ("optim.lrr=1", "optim.lrr is not a setting. Did you mean optim.lr"),
        ("nrm=batch", "nrm is not a setting. Did you mean norm?"),
        ("model.activation=rleu", "model.activation=rleu is not known. Did you mean relu?"),
        ("train.precision=bf16", "train.precision=bf16 is not known. Did you mean bfloat16?"),
        ("placement=befor", "placement=befor is not known. Did you mean before?"),
        ("optim.lr=-1", "optim.lr must be greater than 0, got -1"),
        ("optim.lr=nan", "optim.lr must be a finite number, got nan"),
        ("train.epochs=2.5", "train.epochs must be a valid integer, got 2.5"),
        ("train.batch_size=1e2", "train.batch_size must be a valid integer, got 100.0. Write 100."),
        ("seed=007", "seed must be a valid integer, got the text '007'. Write 7."),
        ("seed=abc", "seed must be a valid integer, got abc"),
        ("seed=1,2", "Add -m to sweep"),
        ("+foo=1", "none can be added"),
        ("~norm", "a run needs every key"),
        ("schedule=cosine", "schedule is a section. Set one of its keys: schedule.name"),
        ("foo", "'foo' is not an override"),
        ("data.root=~/x y", "\"data.root='~/x y'\""),
        ("lr=0.3", "lr is not a setting. Did you mean optim.lr?"),
        ("norm=null", "norm=null: norm takes one option. Known: batch, batch_"),
        ("diagnostics=[foo]", "diagnostics takes one option. Known: cheap, full, none."),
        ("optim=[1]", "optim takes one option"),
        (f"name={'a' * 101}", "name must have 100 characters at most, got 101. Shorten it."),
        ("name=123", """name must be text, got 123. Quotes make it text: "name='123'"."""),
        ("name=true", """name must be text, got true. Quotes make it text: "name='true'"."""),
        ("name=NUL", "name=NUL cannot be a folder's name on Windows, which reserves it for a device. Try my_NUL."),
        ("name=com1.old", "name=com1.old cannot be a folder's name on Windows"),
        ("device=gpu", "device must be auto, cpu, mps, cuda or cuda:<number>, got gpu"),
    ],
)
def test_a_typo_gets_one_to_three_lines_that_say_what_to_type(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run([override])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["a" * 100, "'123'", "console", "com10", "my.nul"])
def test_a_name_that_can_be_a_folders_everywhere_is_taken(name: str) -> None:
    assert compose_run([f"name={name}"]).name == name.strip("'")


def test_an_option_of_another_norm_is_named_with_the_norms_that_have_it() -> None:
    with pytest.raises(ConfigError, match=r"^norm\.num_groups is not a setting with norm=batch; norm=group .*have it"):
        compose_run(["norm.num_groups=4"])


@pytest.mark.slow
def test_every_option_of_every_group_composes() -> None:
    needed = {
        "norm=own": ["norm.name=a.b:C"],
        "model=own": ["model.name=a.b:C"],
        "data=own": ["data.name=a.b:c"],
        "data=npz": ["data.path=x.npz"],
        "data=folder": ["data.path=x"],
    }
    for group, options in config_groups([conf_folder()]).items():
        if group in {"budget", "tuning", "recipe"}:
            continue
        for option in options:
            words = needed.get(f"{group}={option}", [])
            tree = compose_tree([f"{group}={option}", *words])
            assert tree[group]["name"] == option or option == "own"


def test_every_budget_and_tuning_is_for_a_model_and_data_set_that_exist() -> None:
    groups = config_groups([conf_folder()])
    for name in (*groups["budget"], *groups["tuning"]):
        model, data, *optim = name.split("-")
        assert model in groups["model"]
        assert data in groups["data"]
        assert not optim or optim[0] in groups["optim"]


@pytest.mark.slow
def test_a_budget_yields_to_the_command_line() -> None:
    assert compose_run(["model=cnn", "data=cifar10", "train.epochs=1"]).train.epochs == 1
    assert compose_run(["model=cnn", "data=cifar10"]).schedule.name == "one_cycle"
    assert compose_run(["model=cnn", "data=cifar10", "optim=adam"]).schedule.name == "constant"


def test_every_file_of_conf_says_what_it_is_in_its_first_line() -> None:
    for group, options in config_groups([conf_folder()]).items():
        for option in options:
            header, _ = read_option([conf_folder()], group, option)
            assert header.endswith((".", "...", "bfloat16")) or header.count("bnlab") == 1, (group, option, header)


def test_the_keys_of_the_contract_exist() -> None:
    promised = """optim.lr optim.momentum optim.weight_decay train.epochs train.steps train.batch_size train.precision
        norm.momentum norm.eps norm.num_groups model.activation model.depth model.width model.init_std placement seed
        name data.root data.path data.limit data.split_seed train.checkpoint_every device sweep.engine"""
    assert set(promised.split()) <= set(config_keys([conf_folder()]))
    assert config_groups([conf_folder()])["diagnostics"] == ["cheap", "full", "none"]


def test_own_options_are_found_in_config_dir_and_in_conf_here(tmp_path: Path) -> None:
    for folder, name in ((tmp_path / "mine", "slow"), (tmp_path / "conf", "slower")):
        (folder / "optim").mkdir(parents=True)
        text = (conf_folder() / "optim" / "sgd.yaml").read_text().replace("lr: 0.1", "lr: 0.001")
        (folder / "optim" / f"{name}.yaml").write_text(text)
    assert compose_run(["optim=slow"], tmp_path / "mine").optim.lr == 0.001
    assert compose_run(["optim=slower"]).optim.lr == 0.001
    with pytest.raises(ConfigError, match="Did you mean slow"):
        compose_run(["optim=slwo"], tmp_path / "mine")


def test_a_config_dir_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for name, what in (("nowhere", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(ConfigError, match=f"^--config-dir {tmp_path / name} {what}\\. Give the folder that holds"):
            compose_run(["norm=none"], tmp_path / name)


def test_an_own_norm_keeps_its_options_unconverted() -> None:
    norm = compose_run(["norm=my.layers:Mine", "norm.momentum=0.25", "norm.kind=odd"]).norm
    assert norm.name == "my.layers:Mine"
    assert norm.options == {"momentum": 0.25, "kind": "odd"}


@pytest.mark.slow
def test_a_notebook_that_has_hydra_initialized_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("x: 1")
    with initialize_config_dir(str(tmp_path), **INITIALIZE_OPTIONS):
        compose_run(["norm=none"])
        assert GlobalHydra.instance().is_initialized()
        assert compose("theirs").x == 1
    assert not GlobalHydra.instance().is_initialized()


def test_nothing_is_left_behind_by_composing(tmp_path: Path) -> None:
    compose_run(["norm=none"])
    with pytest.raises(ConfigError):
        compose_run(["norm=nun"])
    assert list(tmp_path.iterdir()) == []


def test_cfg_prints_the_config_that_a_run_would_have() -> None:
    text = render_config(["norm=group", "seed=7"], None, "job", resolve=True)
    assert "num_groups: 4" in text
    assert "seed: 7" in text
    assert "hydra:" not in text
    assert render_config([], None, "hydra", resolve=False).startswith("hydra:")


def test_a_missing_key_and_a_key_too_many_are_errors(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    good = (conf_folder() / "optim" / "sgd.yaml").read_text()
    (tmp_path / "optim" / "less.yaml").write_text(good.replace("nesterov: false\n", ""))
    (tmp_path / "optim" / "more.yaml").write_text(good + "warmth: 3\n")
    with pytest.raises(ConfigError, match=r"optim\.nesterov is missing"):
        compose_run(["optim=less"], tmp_path)
    with pytest.raises(ConfigError, match=r"optim\.warmth is not a setting"):
        compose_run(["optim=more"], tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.epochs=null"], "set one of them"),
        (["optim.nesterov=true"], "needs optim.momentum above 0"),
        (["schedule.name=one_cycle", "schedule.warmup_share=0.1"], "warms up by itself"),
        (["model=cnn", "model.depth=4"], "multiple of model.num_stages"),
        (["train.accumulation=7"], r"60 images, 7 parts\. Nearest divisors: 5, 6"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run(overrides)


@pytest.mark.slow
def test_hydra_composes_once_for_each_choice_of_options(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def counted(overrides: list[str], config_dir: Path | None) -> Any:
        calls.append(overrides)
        return compose_by_hydra(overrides, config_dir)

    monkeypatch.setattr(kept, "compose_by_hydra", counted)
    monkeypatch.setattr(kept, "_composed", {})
    for words in (["norm=group"], ["optim.lr=0.3", "norm=group"], ["norm=group", "model.init_std=1", "train.steps=7"]):
        assert compose_run(words) == RunConfig.model_validate(compose_tree(words))
    assert calls == [["norm=group"]]
    for words in (["data=npz", "data.path=a"], ["seed=1", "data=npz", "data.path=b"], ["data=npz", "data.path=c"]):
        assert compose_run(words).data.path == words[-1][-1]  # without a path there is no config
    assert calls[1:] == [["data=npz"], ["data=npz", "data.path=a"], ["seed=1", "data=npz", "data.path=b"]]
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"Did you mean optim\.lr"):
            compose_run(["norm=group", "optim.lrr=1"])


@pytest.mark.slow
def test_what_was_composed_before_is_composed_anew_when_a_file_has_changed(tmp_path: Path) -> None:
    (tmp_path / "norm").mkdir()
    file = tmp_path / "norm" / "mine.yaml"
    file.write_text("name: batch\neps: 1.0e-3\n")
    assert compose_run(["norm=mine"], tmp_path).as_dict()["norm"]["eps"] == 1e-3
    assert compose_run(["norm=mine", "norm.eps=1"], tmp_path).as_dict()["norm"]["eps"] == 1
    assert compose_run(["norm=mine"], tmp_path).as_dict()["norm"]["eps"] == 1e-3
    before = file.stat()
    file.write_text("name: batch\neps: 2.0e-3\n")  # as long as before
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # and as old, as cp -p and rsync leave it
    assert compose_run(["norm=mine"], tmp_path).as_dict()["norm"]["eps"] == 2e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("optim.lr=1,2", "gives several values"),
        ("optim.lr=fast", "optim.lr"),
        ("optim.lr=???", "optim.lr has no value yet"),
        ("optim.lr=[1", "not closed"),
        ("train=5", "train=5: train is a section"),
        ("diagnostics.schedule=null", "diagnostics.schedule is a section"),
    ],
)
def test_a_wrong_value_is_refused_as_well_where_a_right_one_was_composed_before(wrong: str, message: str) -> None:
    assert compose_run(["optim.lr=0.5"]).optim.lr == 0.5
    with pytest.raises(ConfigError, match=re.escape(message)):
        compose_run([wrong])


@pytest.mark.slow
def test_a_section_in_braces_changes_the_keys_in_it_and_no_others_whatever_was_composed_before() -> None:
    config = compose_run(["train={steps: 7, log_every: 3}", "diagnostics.schedule={at: [2]}"])
    expected = compose_run(["train.steps=7", "train.log_every=3", "diagnostics.schedule.at=[2]"])
    assert config == expected
    later = compose_run(["train={batch_size: 30}", "diagnostics.schedule={evenly: 5}"])
    assert later == compose_run(["train.batch_size=30", "diagnostics.schedule.evenly=5"])
    first, second = compose_grid([["train={epochs: 1}"], ["train={batch_size: 50}"]])
    assert (first.train.epochs, second.train.batch_size) == (1, 50)
    assert second.train.epochs == compose_run([]).train.epochs


def test_options_of_an_own_norm_in_braces_are_those_of_this_call() -> None:
    for options in ({"a": 1}, {}, {"b": 2}):
        text = ", ".join(f"{key}: {value}" for key, value in options.items())
        config = compose_run(["norm=my.layers:Mine", f"norm.opts={{{text}}}"])
        assert config.as_dict()["norm"]["opts"] == options


def test_a_value_in_a_list_is_replaced() -> None:
    assert compose_run(["loggers.0=tensorboard"]).loggers == ["tensorboard"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
def test_links_are_followed_and_those_that_lead_nowhere_do_no_harm(tmp_path: Path) -> None:
    real, conf = tmp_path / "real", tmp_path / "conf"
    real.mkdir()
    conf.mkdir()
    (real / "mine.yaml").write_text("name: batch\neps: 1.0e-3\n")
    (conf / "norm").symlink_to(real, target_is_directory=True)
    (real / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (real / ".#mine.yaml").symlink_to(tmp_path / "nowhere")  # as Emacs leaves it beside a file that is not saved
    assert compose_run(["norm=mine"], conf).as_dict()["norm"]["eps"] == 1e-3
    (real / "mine.yaml").write_text("name: batch\neps: 2.0e-3\n")
    assert compose_run(["norm=mine"], conf).as_dict()["norm"]["eps"] == 2e-3


def test_a_section_of_a_section_that_is_no_section_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"diagnostics\.schedule=3: diagnostics\.schedule is a section\. Set one of its keys"
    ):
        compose_run(["diagnostics.schedule=3"])


def test_a_folder_of_options_is_not_searched_at_any_depth(tmp_path: Path) -> None:
    """--config-dir / took minutes: all folders of the machine were entered."""
    deep = tmp_path / "own" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / "own" / "norm").mkdir()
    (tmp_path / "own" / "norm" / "mine.yaml").write_text("name: batch\n")
    (deep / "d").symlink_to(tmp_path / "own")  # in a circle
    entered: list[str] = []
    scandir = os.scandir

    def noting(path: Any = ".") -> Any:
        entered.append(str(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", noting)
        marks = list(kept._marks_of_files(tmp_path / "own"))
    assert [Path(mark[0]).name for mark in marks] == ["mine.yaml"]
    assert not [path for path in entered if "/b/c" in path]


@pytest.mark.parametrize("words", [["data.split_seed=${seed}"], ["tuning=mine", "--of-a-file"]])
def test_what_refers_to_the_seed_is_that_of_each_run(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "mine.yaml").write_text(
        "# @package _global_\ndata:\n  split_seed: ${seed}\n", encoding="utf-8"
    )
    typed = [word for word in words if not word.startswith("--")]
    configs = compose_grid([["data=digits", *typed, f"seed={seed}"] for seed in (3, 4, 5)], tmp_path)
    assert [(config.seed, config.data.split_seed) for config in configs] == [(3, 3), (4, 4), (5, 5)]


def test_seeds_that_share_a_composed_config_have_what_each_would_have_alone() -> None:
    words = [[f"norm={norm}", "optim.lr=0.2", f"seed={seed}"] for norm in ("batch", "none") for seed in (0, 7, 10**17)]
    assert compose_grid(words) == [compose_run(one) for one in words]
    with pytest.raises(ConfigError, match="seed"):
        compose_grid([["seed=0"], ["seed=-1"]])
