"""The user's own YAML files, with the slips that people make."""

from pathlib import Path

import pytest

from bnlab.config.compose import compose_run, compose_tree, render_config
from bnlab.config.folders import conf_folder, search_folders
from bnlab.config.places import where_it_is_one
from bnlab.config.yaml_files import MOST_BYTES, read_table
from bnlab.errors import ConfigError

SGD = (conf_folder() / "optim" / "sgd.yaml").read_text(encoding="utf-8")


def own(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file of the user's own, such as ``optim/x``, into a folder."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: sgd\nlr: [0.1\n", "line 2 cannot be read as YAML: .* expected ',' or ']'"),
        ("name: sgd\nlr:0.1\n", "line 2 cannot be read as YAML: .* could not find expected ':'"),
        ("name: 'sgd\nlr: 0.1\n", "line 1 cannot be read as YAML: while scanning a quoted scalar"),
        ("name: sgd\n  lr: 0.1\n", "line 2 cannot be read as YAML: mapping values are not allowed here"),
        ("name: sgd\n\tlr: 0.1\n", "line 2 cannot be read as YAML: .*cannot start any token"),
        ("lr: 1\n---\nlr: 2\n", "cannot be read as YAML: expected a single document"),
        ("lr: 0.1\nname: sgd\nlr: 0.2\n", "line 3: lr is given twice, in line 1 too"),
        ("a:\n  b: 1\n  b: 2\n", "line 3: b is given twice"),
        ("0.1\n", "must hold lines like 'lr: 0.1', keys and values, got one value, 0.1"),
        ("- a\n- b\n", "must hold lines like .*, got a list"),
        ("1: 2\n", "line 1: a key must be a word, got 1"),
        ("null: 2\n", "line 1: a key must be a word, got null"),
        ("[1, 2]: 3\n", "line 1: a key must be a word, got a list"),
        ("a: &a\n  b: *a\n", "line 1: a value that contains itself"),
        ("lr: !!set {a, b}\n", "line 1: !!set is no plain value"),
        ("lr: !!python/object:os.system x\n", "line 1: !!python/object:os.system is no plain value"),
        ("lr: 2020-99-99\n", "cannot be read as YAML: .* Quote the value"),
        ("name: sgd\nlr: 2e-2  # f\u00fcr alle\n".encode("latin-1"), "line 2 is not text in UTF-8"),
        (bytes(range(128, 256)), "is not text in UTF-8"),
        (b"\0\0", "cannot be read as YAML"),
        ("a: " + "[" * 900 + "]" * 900, "nested too deep"),
        (b" " * (MOST_BYTES + 1), "bytes, too many for a config"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_by_its_path(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = own(tmp_path, "optim/x", content)
    with pytest.raises(ConfigError, match=said) as refusal:
        compose_run(["optim=x"], tmp_path)
    assert str(refusal.value).startswith(str(path))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "# nothing yet\n"])
def test_an_empty_file_is_an_empty_table(tmp_path: Path, content: str) -> None:
    assert read_table(own(tmp_path, "norm/x", content))[1] == {}


def test_a_file_that_is_none_is_no_option(tmp_path: Path) -> None:
    (tmp_path / "optim" / "x.yaml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="optim=x is not known"):
        compose_run(["optim=x"], tmp_path)
    assert compose_run(["optim=adam"], tmp_path).optim.name == "adam"


def test_a_name_that_other_frameworks_have_is_told_by_ours() -> None:
    with pytest.raises(ConfigError, match=r"optim\.learning_rate is not a setting\. Did you mean optim\.lr\?"):
        compose_run(["optim.learning_rate=0.1"])


def test_of_many_options_with_a_setting_three_are_named() -> None:
    with pytest.raises(ConfigError, match=r"norm=\w+ and norm=\w+ and norm=\w+ and \d+ others have it\.$"):
        compose_run(["norm=none", "norm.eps=1e-3"])


@pytest.mark.slow
def test_a_damaged_file_that_no_run_uses_is_in_nobodys_way(tmp_path: Path) -> None:
    own(tmp_path, "optim/x", "- a\n")
    assert compose_run([], tmp_path).optim.name == "sgd"
    with pytest.raises(ConfigError, match=r"lrr is not a setting\. All settings: "):
        compose_run(["lrr=1"], tmp_path)
    cure = where_it_is_one("optim.betas", ["optim.beta1"], [], search_folders(tmp_path))
    assert cure.startswith(". Did you mean optim.beta1")


@pytest.mark.slow_but(2)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr: 2e-2\n", r"optim\.name is missing\. Add it to the file of optim=\.\.\., or let that file begin with"),
        ("name: adam\nlr: 0.1\n", r"optim\.beta1, .* are missing\. Add them .* begin with 'defaults: \[adam\]'"),
        ("defaults: [nosuch]\nlr: 0.1\n", "Could not load 'optim/nosuch'. Name files that are there"),
        ("defaults: [sgd]\nlr: ${nope.x}\n", r"line 2: optim\.lr cannot be worked out: .*nope\.x"),
        ("defaults: [sgd]\nlr: ${oc.env:NOPE_X}\n", r"line 2: optim\.lr cannot be worked out: Environment .*NOPE_X"),
        ("defaults: [sgd]\nlr: ${optim.lr}\n", r"line 2: optim\.lr cannot be worked out: "),
        ("defaults: [sgd]\n\nlr: -1\n", r"line 3: optim\.lr must be greater than 0, got -1"),
    ],
)
def test_a_file_that_composes_to_no_config_says_what_it_lacks(tmp_path: Path, content: str, said: str) -> None:
    path = own(tmp_path, "optim/x", content)
    for ask in (lambda: compose_run(["optim=x"], tmp_path), lambda: render_config(["optim=x"], tmp_path, "job", True)):
        with pytest.raises(ConfigError, match=said) as refusal:
            ask()
        assert len(str(refusal.value).splitlines()) == 1
        assert str(refusal.value).startswith(str(path)) or "nosuch" in said


def test_a_file_is_named_for_its_own_settings_alone(tmp_path: Path) -> None:
    path = own(tmp_path, "optim/x", "defaults: [sgd]\nlr: -1\nmomentum: 3\n")
    with pytest.raises(ConfigError) as refusal:
        compose_run(["optim=x", "optim.lr=-2", "model.width=0"], tmp_path)
    model, rate, momentum = str(refusal.value).splitlines()
    assert model.startswith("model.width must be")
    assert rate.startswith("optim.lr must be")
    assert momentum.startswith(f"{path}, line 3: optim.momentum must be")


def test_defaults_that_lead_back_to_themselves_are_refused(tmp_path: Path) -> None:
    own(tmp_path, "optim/x", "defaults: [x]\n")
    with pytest.raises(ConfigError, match="the config refers to itself"):
        compose_run(["optim=x"], tmp_path)


def test_the_cure_for_a_missing_key_works_when_typed(tmp_path: Path) -> None:
    own(tmp_path, "optim/x", "defaults: [sgd]\nlr: 2e-2\n")
    assert compose_run(["optim=x"], tmp_path).optim.lr == 0.02


@pytest.mark.parametrize("name", ["optim/sgd", "data/mnist_5k", "optim/adam"])
def test_own_yaml_under_a_taken_name_is_refused_where_it_would_be_used(tmp_path: Path, name: str) -> None:
    group, option = name.split("/")
    path = own(tmp_path, name, (conf_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    words = ["optim=adam"] if option == "adam" else []
    compose_run(words, tmp_path)  # a copy changes nothing
    path.write_text(path.read_text() + "# mine\n")
    cure = rf"Rename it to my_{option}\.yaml and write {group}=my_{option}\."
    with pytest.raises(ConfigError, match=cure) as refusal:
        compose_run([*words, "seed=1"], tmp_path)
    assert str(refusal.value).startswith(str(path))
    path.rename(path.with_stem(f"my_{option}"))
    compose_run([f"{group}=my_{option}"], tmp_path)
    if option == "adam":
        own(tmp_path, name, "lr: 1\n")
        compose_run([], tmp_path)  # nobody asked for it


def test_own_yaml_for_a_model_on_a_data_set_is_a_default_of_ones_own(tmp_path: Path) -> None:
    own(tmp_path, "budget/mlp-digits", "# @package train\nepochs: 3\n")
    assert compose_run(["data=digits"], tmp_path).train.epochs == 3
    own(tmp_path, "budget/cnn-mnist", "# @package train\nepochs: 3\n")
    with pytest.raises(ConfigError, match="budget=my_cnn-mnist"):
        compose_run(["model=cnn", "data=mnist"], tmp_path)


@pytest.mark.parametrize("word", ["budget=cnn-mnits", "tuning=mlp-mnist", "tuning=3"])
def test_a_slip_in_an_optional_group_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} is not known"):
        compose_run([word])


@pytest.mark.slow
def test_a_config_that_training_refuses_is_not_printed() -> None:
    for word in ("model.activation=swish", "seed=abc", "optim.lr=-1"):
        with pytest.raises(ConfigError):
            render_config([word], None, "job", resolve=False)
    assert "lr: 0.1" in render_config([], None, "all", resolve=False)
    assert compose_tree([])["seed"] == 0
