import itertools
from pathlib import Path

import pytest

from bnlab.config.compose import compose_run, compose_typed
from bnlab.config.grammar import parse_overrides
from bnlab.config.swept_values import sweep_values
from bnlab.errors import ConfigError
from bnlab.norms.names import NORMS
from bnlab.sweeps.grid import expand, sweep_name
from bnlab.sweeps.plan import plan_sweep
from bnlab.sweeps.sweep_files import with_file


def test_the_last_word_changes_fastest() -> None:
    configs = expand(["norm=batch,none", "optim.lr=0.1,0.3", "seed=range(2)"]).configs
    assert [(c.norm.name, c.optim.lr, c.seed) for c in configs] == [
        (norm, lr, seed) for norm in ("batch", "none") for lr in (0.1, 0.3) for seed in (0, 1)
    ]


@pytest.mark.slow
def test_choice_range_and_glob_are_hydras() -> None:
    assert [c.optim.lr for c in expand(["optim.lr=choice(0.5,2)"]).configs] == [0.5, 2.0]
    assert [c.seed for c in expand(["seed=range(1,9,4)"]).configs] == [1, 5]
    matching = sorted(name for name in NORMS if name.startswith("layer"))
    assert len(matching) > 1
    assert [c.norm.name for c in expand(["norm=glob(layer*)"]).configs] == matching
    with pytest.raises(ConfigError, match="an interval has no list of values"):
        expand(["optim.lr=interval(0.1,1)"])
    with pytest.raises(ConfigError, match="matches nothing"):
        expand(["norm=glob(x*)"])


@pytest.mark.parametrize("word", ["seed=range(0)", "seed=range(3,1)", "seed=shuffle(range(0))", "seed=sort(range(0))"])
def test_a_sweep_over_nothing_is_refused_by_its_word(word: str) -> None:
    for expanded in (lambda: expand(["norm=batch,none", word]), lambda: compose_run([word])):
        with pytest.raises(ConfigError) as refusal:
            expanded()
        assert str(refusal.value) == (
            f"{word} has no values. A range ends before its stop: seed=range(3) is 0, 1 and 2."
        )


@pytest.mark.parametrize("word", ["seed=range(0,10,0)", "optim.lr=range(0,1,0.0)"])
def test_a_range_that_does_not_move_is_refused_by_its_word(word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(ConfigError) as refusal:
        expand([word])
    assert str(refusal.value) == (
        f"{word}: range(start, stop, step) needs a step other than 0. Such as {key}=range(0,10,2)."
    )


def test_an_option_applies_where_it_exists_and_makes_no_run_twice() -> None:
    grid = expand(["norm=group,none", "norm.num_groups=2,5"])
    assert [(c.norm.name, c.norm.options.get("num_groups")) for c in grid.configs] == [
        *[("group", 2), ("group", 5), ("none", None)]
    ]
    assert grid.warnings == ["norm.num_groups does not apply to norm=none, which go without it."]


def test_an_own_norm_takes_every_option_as_it_is() -> None:
    grid = expand(["norm=none,my.layers:Mine", "norm.kind=a,b"])
    assert [(c.norm.name, c.norm.options) for c in grid.configs] == [
        *[("none", {}), ("my.layers:Mine", {"kind": "a"}), ("my.layers:Mine", {"kind": "b"})]
    ]


def test_a_sweeps_name_is_what_it_was_given_or_says_what_is_swept() -> None:
    assert expand(["name=mine", "seed=0,1"]).name == "mine"
    name = expand(["seed=0,1"]).name
    assert len(name) == 8
    assert set(name) <= set("0123456789abcdef")
    same = ["seed=0,1", "device=cpu", "sweep.engine=sequential"]
    assert sweep_name(same) == name != sweep_name(["seed=0,2"])


def test_a_sweep_has_one_name_and_not_that_of_the_folder_of_single_runs() -> None:
    with pytest.raises(ConfigError) as several:
        expand(["name=a,b", "seed=0,1"])
    assert str(several.value) == "name=a,b: a sweep has one name, its folder's. Give one: name=a."
    with pytest.raises(ConfigError) as single:
        expand(["name=single", "seed=0,1"])
    assert str(single.value) == (
        "name=single is the folder of runs that belong to no sweep. Give the sweep another name."
    )


def test_an_option_that_no_arm_has_is_an_error_that_names_the_arms() -> None:
    with pytest.raises(ConfigError, match=r"norm\.num_groups is not a setting with norm=batch,none"):
        expand(["norm=batch,none", "norm.num_groups=2"])
    with pytest.raises(ConfigError, match=r"norm\.momentmu is not a setting.*Did you mean norm\.momentum"):
        expand(["norm.momentmu=0.5", "seed=0,1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["norm=batch,none", "seed=0", "norm=layer"],
            "norm is given twice: norm=batch,none and norm=layer. Give one: norm=batch,none,layer.",
        ),
        (
            ["optim.lr=0.1", "optim.lr=0.2"],
            "optim.lr is given twice: optim.lr=0.1 and optim.lr=0.2. Give one: optim.lr=0.1,0.2.",
        ),
        (["seed=0,1", "seed=1"], "seed is given twice: seed=0,1 and seed=1. Give one: seed=0,1."),
        (
            ["seed=range(3)", "seed=7"],
            "seed is given twice: seed=range(3) and seed=7. Give one of them, or one list of all values.",
        ),
    ],
)
def test_a_key_given_twice_is_refused_by_both_its_words(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        expand(words)
    assert str(refusal.value) == said


def test_a_word_said_twice_is_said_once() -> None:
    assert expand(["norm=batch,none", "norm=batch,none"]).configs == expand(["norm=batch,none"]).configs


def test_one_run_refuses_a_key_given_twice_as_a_sweep_does() -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr is given twice: .* Give one of them\."):
        compose_typed(["optim.lr=0.1", "optim.lr=0.2"])
    assert compose_typed(["optim.lr=0.2", "optim.lr=0.2"]).optim.lr == 0.2


def test_logspace_has_both_ends_and_a_constant_ratio() -> None:
    rates = [config.optim.lr for config in expand(["optim.lr=logspace(1e-3,10,9)"]).configs]
    assert rates == [0.001, 0.00316228, 0.01, 0.0316228, 0.1, 0.316228, 1.0, 3.16228, 10.0]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ["norm=batch,group,my.layers:Mine", "optim.lr=0.1,1", "norm.eps=1e-3,1e-4", "seed=range(2)"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["model=mlp,cnn", "data=digits,mnist", "optim=sgd,adam", "model.activation=tanh,relu"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["train.eval_every=null,10", "model.init_std=0.1,null", "diagnostics.schedule.at=[1],[2]"],
            marks=pytest.mark.slow,
        ),
        ["loggers=[],[tensorboard]", "schedule.name=cosine,step", "data.flip=true,false"],
    ],
)
def test_every_config_of_a_grid_is_the_one_that_is_composed_alone(words: list[str]) -> None:
    axes = [sweep_values(override, None) for override in parse_overrides(words)]
    alone = [compose_run(list(combination)) for combination in itertools.product(*axes)]
    assert expand(words).configs == list({config.model_dump_json(): config for config in alone}.values())


def test_the_group_is_not_what_is_compared_but_what_it_changes(tmp_path: Path) -> None:
    (tmp_path / "budget").mkdir()
    for name, width in (("narrow", 8), ("wide", 16)):
        text = f"# @package _global_\nmodel:\n  width: {width}\n"
        (tmp_path / "budget" / f"{name}.yaml").write_text(text)
    sweep = plan_sweep(["budget=narrow,wide", "seed=0,1"], tmp_path / "runs", tmp_path)
    assert sweep.swept == ["seed", "model.width"]
    assert [sweep.arm(name) for name in sweep.configs] == ["width=8", "width=8", "width=16", "width=16"]


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["train.steps=30", "train.epochs=2,5"], "train.epochs is swept and has no effect: train.steps wins over it"),
        (["sweep=norms-lr-seeds", "train.epochs=1,2"], "train.epochs is swept and has no effect: train.steps wins"),
        (["schedule.step_factor=0.1,0.5"], "schedule.step_factor is swept and has no effect: only schedule.name=step"),
        (["model.init=he,lecun", "model.init_std=1"], "model.init is swept and has no effect: model.init_std wins"),
        (["norm.affine=false", "norm.bias=true,false"], "norm.bias is swept and has no effect: norm.affine=false"),
        (["norm=none", "placement=before,after"], "placement is swept and has no effect: norm=none"),
        (["norm=batch,none", "placement=before,after"], "placement is swept and has no effect in 2 of 4 runs"),
        (
            ["norm=batch,none", "train.parameters=output,norms_and_output"],
            "train.parameters is swept and has no effect in 2 of 4 runs: the norm has no parameters",
        ),
        (
            ["norm.track_running_stats=false", "norm.momentum=0.5,0.9"],
            "norm.momentum is swept and has no effect: norm.track_running_stats=false",
        ),
    ],
)
def test_a_swept_setting_that_another_overrules_is_told(words: list[str], warning: str) -> None:
    assert next(text for text in expand(with_file(words, None)).warnings if "has no effect" in text).startswith(warning)


@pytest.mark.slow
def test_settings_with_an_effect_are_swept_without_a_word() -> None:
    for words in (
        ["train.epochs=2,5"],
        ["schedule.name=step,constant", "schedule.step_factor=0.1"],
        ["model.init=he,lecun"],
        ["norm=batch,none", "placement=before"],
        ["norm.momentum=0.5,0.9"],
        ["norm=none", "train.parameters=all,output"],
    ):
        assert expand(words).warnings == []


def test_a_value_given_twice_is_one_run_and_told() -> None:
    grid = expand(["optim.lr=0.1,0.1,0.1", "norm=batch,none"])
    assert len(grid.configs) == 2
    assert grid.warnings == [
        "optim.lr=0.1 is given 3 times, and is one run: the same settings give the same numbers. For repetitions, give "
        "seeds: seed=range(3)."
    ]
    assert not expand(["optim.lr=0.1,0.2", "seed=range(3)"]).warnings


@pytest.mark.slow
def test_a_section_that_got_a_plain_value_and_one_of_its_keys_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="schedule is a section"):
        expand(["data=digits", "schedule=step", "schedule.step_factor=0.1,0.5"])


@pytest.mark.parametrize(
    ("name", "what"), [("last", "the last run"), ("studies", "bnlab study"), ("comparisons", "compare")]
)
def test_a_sweep_cannot_take_a_name_that_means_something_else(name: str, what: str) -> None:
    with pytest.raises(ConfigError, match=f"name={name} means .*{what}.*Give the sweep another name"):
        expand([f"name={name}", "seed=0,1"])
