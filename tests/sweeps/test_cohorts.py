"""Which runs are trained together, by their configs alone."""

import random
from collections.abc import Sequence

import pytest
from folded import folded

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.norms.catalog import is_vectorizable
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import MOST_TOGETHER, PlannedCohort, plan_cohorts

BASE = compose_run(["norm=batch"])


def changed(config: RunConfig, **sections: dict[str, object]) -> RunConfig:
    facts = config.as_dict()
    for name, values in sections.items():
        facts[name] = {**facts[name], **values} if isinstance(values, dict) else values
    return RunConfig.model_validate(facts)


def grid(config: RunConfig, num_rates: int, num_seeds: int) -> list[RunConfig]:
    return [
        changed(config, optim={"lr": 0.01 * (rate + 1)}, seed=seed)
        for rate in range(num_rates)
        for seed in range(num_seeds)
    ]


def shapes(cohorts: Sequence[PlannedCohort]) -> list[tuple[str, int]]:
    return [(cohort.engine, len(cohort.configs)) for cohort in cohorts]


def test_runs_that_differ_in_numbers_are_cut_into_equal_cohorts_in_order() -> None:
    configs = grid(BASE, 9, 5)
    cohorts = plan_cohorts(configs, is_vectorizable)
    assert shapes(cohorts) == [("vectorized", 8)] * 3 + [("vectorized", 7)] * 3
    assert [config for cohort in cohorts for config in cohort.configs] == configs


@folded("num_runs", range(2, 40))
def test_no_cohort_is_too_large_and_no_two_differ_by_more_than_one(num_runs: int) -> None:
    sizes = [len(cohort.configs) for cohort in plan_cohorts(grid(BASE, 1, num_runs), is_vectorizable)]
    assert sum(sizes) == num_runs
    assert max(sizes) <= MOST_TOGETHER
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "numbers",
    [
        {"seed": 3},
        {"optim": {"lr": 0.5}},
        {"optim": {"weight_decay": 0.1}},
        {"optim": {"momentum": 0.5}},
        {"model": {"init_std": 0.1}},
        {"model": {"init": "glorot"}},
    ],
)
def test_a_number_does_not_make_another_program(numbers: dict[str, object]) -> None:
    assert shapes(plan_cohorts([BASE, changed(BASE, **numbers)], is_vectorizable)) == [("vectorized", 2)]


@folded(
    "parts",
    [
        {"norm": {"eps": 1e-3}},
        {"norm": {"name": "batch", "momentum": 0.5}},
        {"model": {"width": 32}},
        {"model": {"activation": "tanh"}},
        {"model": {"dropout": 0.1}},
        {"train": {"batch_size": 30}},
        {"train": {"steps": 7}},
        {"optim": {"clip_norm": 1.0}},
        {"optim": {"nesterov": True, "momentum": 0.9}},
        {"placement": "after"},
        {"data": {"limit": 100}},
        {"data": {"split_seed": 1}},
        {"schedule": {"name": "cosine"}},
        {"diagnostics": {"names": []}},
    ],
)
def test_anything_else_does(parts: dict[str, object]) -> None:
    assert shapes(plan_cohorts([BASE, changed(BASE, **parts)], is_vectorizable)) == [("sequential", 1)] * 2


def test_two_values_of_clipping_share_a_program() -> None:
    clipped = [changed(BASE, optim={"clip_norm": limit}) for limit in (0.5, 1.0)]
    assert shapes(plan_cohorts(clipped, is_vectorizable)) == [("vectorized", 2)]


def test_arms_that_alternate_are_put_together_and_stand_where_they_begin() -> None:
    norms = [compose_run([f"norm={norm}"]) for norm in ("batch", "batch_torch", "layer")]
    configs = [changed(norm, seed=seed) for seed in range(3) for norm in norms]
    cohorts = plan_cohorts(configs, is_vectorizable)
    assert shapes(cohorts) == [
        ("vectorized", 3),
        ("sequential", 1),
        ("vectorized", 3),
        ("sequential", 1),
        ("sequential", 1),
    ]
    assert sorted(c.seed for cohort in cohorts for c in cohort.configs) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_every_run_is_trained_once() -> None:
    configs = [changed(BASE, seed=seed, model={"width": width}) for seed in range(20) for width in (8, 16, 300)]
    random.Random(0).shuffle(configs)
    planned = [config for cohort in plan_cohorts(configs, is_vectorizable) for config in cohort.configs]
    assert sorted(map(repr, planned)) == sorted(map(repr, configs))


@pytest.mark.slow_but(5)
@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn"],
        ["model.width=300"],
        ["norm=none", "model.width=200"],
        ["norm=none", "model.width=128", "train.batch_size=500"],
        ["norm=batch_torch"],
        ["norm=torch.nn:BatchNorm1d"],
        ["train.precision=bfloat16"],
        ["device=mps"],
        ["sweep.engine=sequential"],
        ["model=lstm", "model.width=129"],
        ["model=lstm", "model.sequence=pixels"],
        ["model=lstm", "model.skip_padding=true", "data.padding_value=0"],
        ["model=lstm", "train.batch_size=240"],
        ["model=lstm", "norm=none"],
        ["model=lstm", "train.steps=266"],
        ["model=rnn", "norm=none", "model.width=65"],
    ],
)
def test_goes_alone_where_that_is_faster_or_where_it_must(words: list[str]) -> None:
    assert shapes(plan_cohorts(grid(compose_run(words), 1, 3), is_vectorizable)) == [("sequential", 1)] * 3


@pytest.mark.parametrize(
    "words",
    [
        ["model=lstm"],
        ["model=lstm", "model.width=128", "norm=layer"],
        ["model=lstm", "model.width=32", "norm=none"],
        ["model=lstm", "train.steps=267"],
        ["model=rnn", "norm=none"],
    ],
)
def test_small_recurrent_nets_go_together_where_their_steps_repay_the_program(words: list[str]) -> None:
    assert shapes(plan_cohorts(grid(compose_run(words), 1, 3), is_vectorizable)) == [("vectorized", 3)]


def test_steps_of_the_smallest_cohort_must_repay_its_program() -> None:
    """Nine runs are cut into five and four: 199 steps of four runs are too few, though eight would be enough."""
    enough, too_few = (compose_run(["model=lstm", f"train.steps={steps}"]) for steps in (200, 199))
    assert shapes(plan_cohorts(grid(enough, 1, 9), is_vectorizable)) == [("vectorized", 5), ("vectorized", 4)]
    assert shapes(plan_cohorts(grid(too_few, 1, 9), is_vectorizable)) == [("sequential", 1)] * 9
    assert shapes(plan_cohorts(grid(too_few, 1, 8), is_vectorizable)) == [("vectorized", 8)]


def test_a_run_without_company_goes_alone() -> None:
    assert shapes(plan_cohorts([BASE], is_vectorizable)) == [("sequential", 1)]


@pytest.mark.parametrize("words", [["model=cnn"], ["model.width=300"], []])
def test_goes_together_when_told_to(words: list[str]) -> None:
    configs = grid(compose_run([*words, "sweep.engine=vectorized"]), 1, 3)
    assert shapes(plan_cohorts(configs, is_vectorizable)) == [("vectorized", 3)]
    assert shapes(plan_cohorts(configs[:1], is_vectorizable)) == [("vectorized", 1)]


@pytest.mark.parametrize(
    ("words", "law"),
    [
        (["norm=batch_torch"], r"needs a norm that declares itself vectorizable, got norm=batch_torch\. Use"),
        (["norm=torch.nn:BatchNorm1d"], r"declares itself vectorizable, got norm=torch\.nn:BatchNorm1d"),
        (["train.precision=bfloat16"], r"needs train\.precision=float32, got bfloat16"),
    ],
)
def test_says_why_it_cannot_go_together(words: list[str], law: str) -> None:
    with pytest.raises(ConfigError, match=law):
        plan_cohorts([compose_run([*words, "sweep.engine=vectorized"])], is_vectorizable)
