"""Diagnostics give the same values in stacked runs as in each of them alone, and leave no trace in either."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from stacking import alone, compose, default_dtype, distance, is_same, together

from bnlab.diagnostics import curvature
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.norms.catalog import is_vectorizable
from bnlab.norms.names import NORMS
from bnlab.training.cohort import Cohort

THREE = (["optim.lr=0.1", "seed=0"], ["optim.lr=0.03", "seed=1"], ["optim.lr=0.01", "seed=0"])
NEED_A_STEP = {"update_ratio", "angular_update", "gradient_shift"}
NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
OPTIONS = {
    "group": ["norm.num_groups=2"],
    "group_torch": ["norm.num_groups=2"],
    "weight_standardization": ["norm.num_groups=2"],
}
CASES = [("mlp", norm) for norm in sorted(NORMS) if is_vectorizable(norm) and norm not in NEED_SPACE] + [
    ("cnn", norm) for norm in ("batch", "layer", "none", *sorted(NEED_SPACE))
]


Measured = list[dict[str, dict[str, float]]]


def trained(run: Cohort, at: Sequence[int]) -> tuple[list[Measured], dict[str, Any]]:
    """Train three steps; return the values of all diagnostics at some of the steps, and what training came to."""
    measurements, losses, steps = [], [], run.steps()
    for step in range(4):
        if step in at:
            measurements.append(run.measure(step, heavy=True))
        if step + 1 in at:
            run.keep_weights()
        if step < 3:
            losses.append(next(steps)[0])
    weights = [{name: value.clone() for name, value in own.items()} for own in run.weights()]
    return measurements, {"losses": torch.stack(losses), "weights": weights}


def check(
    words: list[str],
    names: Sequence[str] = tuple(DIAGNOSTICS),
    runs: Sequence[list[str]] = THREE,
    at: Sequence[int] = (0, 3),
) -> None:
    """Hold stacked runs against runs trained alone, and both against runs in which nothing is measured."""
    words = [*words, f"diagnostics.names=[{','.join(names)}]", "diagnostics.population_size=60"]
    with default_dtype(torch.float64):
        configs = compose(words, *runs)
        found, outcome = trained(together(configs), at)
        assert is_same(trained(together(configs), ())[1], outcome)
        for row, config in enumerate(configs):
            with alone(config) as run:
                expected, outcome_alone = trained(run, at)
            if row == 0:
                with alone(config) as run:
                    assert is_same(trained(run, ())[1], outcome_alone)
            assert distance(outcome["losses"][:, row], outcome_alone["losses"].flatten()) < 1e-8
            assert distance(outcome["weights"][row], outcome_alone["weights"][0]) < 1e-8
            for step, ours, theirs in zip(at, found, expected, strict=True):
                assert ours[row].keys() == theirs[0].keys()
                assert set(names) - ours[row].keys() == (NEED_A_STEP & set(names) if step == 0 else set())
                for name, values in theirs[0].items():
                    assert ours[row][name].keys() == values.keys(), name
                    closeness = 1e-5 if name.startswith("sharpness") else 1e-7  # the first is found by iteration
                    for role, value in values.items():
                        same = math.isclose(ours[row][name][role], value, rel_tol=closeness, abs_tol=1e-8)
                        assert same or (math.isnan(value) and math.isnan(ours[row][name][role])), (name, role, step)


@pytest.mark.slow
def test_some_values_are_those_of_the_run_alone() -> None:
    check(["model.width=8", "model.depth=1", "model.dropout=0.3"], ["saturation", "gradient_norm", "update_ratio"])


@pytest.fixture
def _few_steps_of_lanczos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the sharpness in three steps: all of them take as long as all other diagnostics do."""
    monkeypatch.setattr(curvature, "largest_eigenvalue", functools.partial(curvature.largest_eigenvalue, num_steps=3))


@pytest.mark.slow
@pytest.mark.usefixtures("_few_steps_of_lanczos")
@pytest.mark.parametrize(("model", "norm"), CASES)
def test_all_values_are_those_of_the_run_alone_and_no_measurement_leaves_a_trace(model: str, norm: str) -> None:
    sizes = ["model=cnn", "model.width=4", "model.num_stages=1"] if model == "cnn" else ["model.width=8"]
    words = [*sizes, "model.depth=2", f"norm={norm}", *OPTIONS.get(norm, []), "model.activation=tanh"]
    check(words, runs=THREE[:2], at=[2])  # and a step after it, in which a trace would show


@pytest.mark.slow
@pytest.mark.usefixtures("_few_steps_of_lanczos")
@pytest.mark.parametrize(
    "words",
    [
        ["model.dropout=0.3"],
        ["norm=batch_noisy", "model.dropout=0.3"],
        ["placement=after"],
        ["placement=input"],
        ["model.activation=relu"],
        ["train.accumulation=2", "accept=[accumulation]"],
    ],
)
def test_in_any_setting(words: list[str]) -> None:
    check(["model.width=8", "model.depth=2", "model.activation=tanh", *words], runs=THREE[1:])


@pytest.mark.slow
@pytest.mark.parametrize("words", [["model.dropout=0.3"], ["norm=batch_noisy"]])
def test_noise_is_that_of_a_run_alone_where_a_part_of_the_probe_is_measured(words: list[str]) -> None:
    more = ["data.limit=1600", "data.validation_share=0.25", "diagnostics.probe_size=300"]
    names = "diagnostics.names=[sharpness,sharpness_invariant]"
    with default_dtype(torch.float64):
        configs = compose(["model.width=8", "model.depth=2", *more, *words, names], *THREE)
        found = together(configs).measure(0, heavy=True)
        for row, config in enumerate(configs):
            with alone(config) as run:
                assert len(run.probe.inputs) > len(run.probe.few.inputs) == 256
                (expected,) = run.measure(0, heavy=True)
            for name, values in expected.items():
                assert math.isclose(found[row][name]["network"], values["network"], rel_tol=1e-5)


class LooksAtSeven(Diagnostic):
    name = "looks_at_seven"
    unit = "1"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, torch.Tensor]:
        assert seen.passes
        assert seen.probe
        return {"network": seen.passes.loss(seen.probe.inputs[:7], seen.probe.labels[:7])}


def test_a_batch_that_no_noise_was_drawn_for_is_named() -> None:
    words = [
        "model.width=8",
        "model.depth=1",
        "model.dropout=0.3",
        "diagnostics.names=[test_stacked_diagnostics:LooksAtSeven]",
    ]
    with pytest.raises(ValueError, match=r"passes 7 images .* probe\.few"):
        together(compose(words, *THREE)).measure(0, heavy=True)


def test_all_of_ours_can_be_vectorized() -> None:
    assert [d.name for d in build_diagnostics(list(DIAGNOSTICS)) if not d.vectorizable] == []
