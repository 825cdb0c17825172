"""The range test is held against what a run is before and after it, and against steps written apart."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check
from bnlab.stats.range_curve import RangeCurve, read_range
from bnlab.training.cohort import SingleRun
from bnlab.training.range_test import range_test

WORDS = ["data=synthetic", "model.width=16", "model.dropout=0.2", "diagnostics=none", "train.batch_size=20"]


def run_of(*words: str, steps: int = 0) -> SingleRun:
    """Return a run that has made some steps: its buffers, its optimizer and its place in the data are its own."""
    config = compose_run([*WORDS, *words])
    run, _ = assemble(config, check(config))
    for _, _ in zip(range(steps), run.steps(), strict=False):
        pass
    return run


def everything(run: SingleRun) -> dict[str, Any]:
    """Return all that a test could change, copied."""
    found: dict[str, Any] = {f"model {key}": value for key, value in run.model.state_dict().items()}
    found |= {f"gradient {name}": p.grad for name, p in run.model.named_parameters()}
    found |= {f"mode {name}": module.training for name, module in run.model.named_modules()}
    found |= {f"identity {name}": id(p) for name, p in [*run.model.named_parameters(), *run.model.named_buffers()]}
    for number, state in run.optimizer.state_dict()["state"].items():
        found |= {f"optimizer {number} {key}": value for key, value in state.items()}
    for number, group in enumerate(run.optimizer.param_groups):
        found |= {f"group {number} {key}": value for key, value in group.items() if key != "params"}
    found |= {f"batches {key}": value for key, value in run.batches.state().items()}
    found |= {"torch": torch.get_rng_state(), "python": random.getstate(), "lr": run.lr, "schedule": run.schedule}
    found |= {f"numpy {i}": part for i, part in enumerate(np.random.get_state())}
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in found.items()}


def assert_bit_equal(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == after[key].dtype, key
            assert value.numpy().tobytes() == after[key].numpy().tobytes(), key
        elif isinstance(value, np.ndarray):
            assert (value == after[key]).all(), key
        else:
            assert value == after[key], key


@pytest.mark.parametrize("steps", [0, 7])
@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_nothing_has_happened_afterwards(optim: str, steps: int) -> None:
    words = ["optim.momentum=0.9"] if optim == "sgd" else []
    run = run_of("norm=batch", f"optim={optim}", *words, steps=steps)
    before = everything(run)
    curve = range_test(run, 1e-4, 1e3, 60)
    assert_bit_equal(before, everything(run))
    assert max(curve.losses) != min(curve.losses)  # something did happen in between


def test_the_run_goes_on_as_if_it_had_not_been_tested() -> None:
    rng = torch.get_rng_state()
    tested = run_of(steps=5)
    torch.set_rng_state(rng)  # the same dropout for both
    other = run_of(steps=5)
    rng = torch.get_rng_state()
    range_test(tested, 1e-4, 1.0, 30)
    assert torch.equal(torch.get_rng_state(), rng)
    losses = []
    for run in (tested, other):
        torch.set_rng_state(rng)
        losses.append([loss.item() for _, (loss, _, _) in zip(range(20), run.steps(), strict=False)])
    assert losses[0] == losses[1]


def test_nothing_has_happened_even_if_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(steps=3)
    before = everything(run)
    real, calls = F.cross_entropy, []

    def interrupted(*args: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(F, "cross_entropy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        range_test(run, 1e-4, 1.0, 30)
    assert_bit_equal(before, everything(run))


def test_what_a_layer_draws_from_numpy_or_python_is_given_back() -> None:
    class Drawing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (1 + 1e-3 * random.random() + 1e-3 * np.random.rand())

    run = run_of()
    run.model.add_module("drawing", Drawing())
    run.model.register_forward_hook(lambda model, _, output: model.drawing(output))
    before = everything(run)
    range_test(run, 1e-4, 1.0, 10)
    assert_bit_equal(before, everything(run))


def test_each_loss_belongs_to_the_update_before_it() -> None:
    run = run_of("model.dropout=0", "norm=none")
    model, batches = copy.deepcopy(run.model), run_of("model.dropout=0", "norm=none").batches
    lrs, losses = np.geomspace(1e-3, 0.1, 12), []
    for step, (images, labels) in enumerate(batches):
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        if step == len(lrs):
            break
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= lrs[step] * gradient
    curve = range_test(run, 1e-3, 0.1, 12)
    assert curve.lrs == pytest.approx(tuple(lrs))
    assert (curve.start_loss, *curve.losses) == pytest.approx(losses, rel=1e-5)
    assert curve.is_whole


def test_it_is_given_up_when_the_loss_explodes() -> None:
    curve = range_test(run_of("norm=none", "model.dropout=0"), 1e-3, 1e6, 90)
    assert not curve.is_whole
    assert len(curve.lrs) == len(curve.losses) < 90
    assert read_range(curve).breaks_side == "exact"


def test_a_network_that_starts_with_infinity_learns_nothing() -> None:
    run = run_of("norm=none", "model.dropout=0")
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.inf)
    curve = range_test(run, 1e-3, 1.0, 20)
    assert curve == RangeCurve((), (), pytest.approx(float("nan"), nan_ok=True), is_whole=False)
    assert read_range(curve).breaks is None


@pytest.mark.parametrize(("lowest", "highest", "steps"), [(0, 1, 9), (1, 1, 9), (1, 0.1, 9), (0.1, 1, 1)])
def test_an_impossible_range_is_refused(lowest: float, highest: float, steps: int) -> None:
    with pytest.raises(ConfigError, match="0 < lowest < highest and 2 steps or more"):
        range_test(run_of(), lowest, highest, steps)
