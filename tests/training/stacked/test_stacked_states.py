"""A cohort continues with fewer runs, and resumes from a state on disk, with the same bits."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from stacking import CPU, compose, data_of, default_dtype, distance, history, is_same, together

from bnlab.training.checkpoint import read_checkpoint, write_checkpoint
from bnlab.training.stacked.program import padded_size
from bnlab.training.stacked.runs import StackedRuns

FIVE = [[f"optim.lr={0.02 * (r + 1)}", f"seed={r % 3}", f"optim.weight_decay={0.01 * (r % 2)}"] for r in range(5)]
PROGRAMS = [
    ["norm=batch_noisy", "model.dropout=0.3", "model.depth=1"],
    *(
        pytest.param(words.split(), marks=pytest.mark.slow)
        for words in (
            "model.depth=1 norm=none optim=adam train.accumulation=2 accept=[accumulation]",
            "model=cnn model.width=4 model.depth=2 model.num_stages=2 norm=layer data.flip=true data.crop_padding=1 "
            "optim.momentum=0.9",
            "model.depth=1 norm=dyt optim=adamw optim.clip_norm=0.1",
            "model.depth=2 norm=layer optim=muon optim.first_layer=true",
            "model.depth=1 norm=batch train.parameters=norms optim.momentum=0.9",
        )
    ),
]


def through_disk(states: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Write states as checkpoints and read them back: tensors and plain values, and nothing that is executed."""
    kept = []
    for number, state in enumerate(states):
        path = folder / f"{number}.pt"
        write_checkpoint(path, 7, state["model"], {"state": state})
        kept.append(read_checkpoint(path)["training"]["state"])
    return kept


@pytest.mark.parametrize("words", PROGRAMS)
@pytest.mark.parametrize("steps_before", [0, 7])
def test_a_cohort_that_was_stopped_resumes_with_the_same_bits(
    words: list[str], steps_before: int, tmp_path: Path
) -> None:
    configs = compose(words, *FIVE)
    whole = together(configs)
    if steps_before:
        history(whole, steps_before)
    states = through_disk(whole.state(), tmp_path)
    resumed = together(configs)
    history(resumed, 3)  # its steps before must not matter
    resumed.load_state(states)
    assert is_same(history(whole, 6, steps_before), history(resumed, 6, steps_before))


@pytest.mark.slow
@pytest.mark.parametrize("words", PROGRAMS)
def test_after_a_drop_the_others_compute_as_without_the_dropped_runs(words: list[str]) -> None:
    with default_dtype(torch.float64):
        configs = compose(words, *FIVE)
        run, alone = together(configs), together([configs[0], configs[3]])
        parts = [history(run, 4)]
        run.drop([2])
        parts.append(history(run, 3, 4))
        run.drop({1, 3})  # positions among those that are left: 0, 1, 3, 4
        parts.append(history(run, 3, 7))
        expected = [history(alone, steps, start) for steps, start in ((4, 0), (3, 4), (3, 7))]
    assert [len(part) for part in parts] == [5, 4, 2]
    assert distance(parts[0][0], expected[0][0]) < 1e-9
    for part, wanted, positions in zip(parts, expected, ([0, 3], [0, 2], [0, 1]), strict=True):
        assert max(distance(part[p], w) for p, w in zip(positions, wanted, strict=True)) < 1e-9


@pytest.mark.slow
def test_the_stream_of_steps_continues_with_fewer_runs() -> None:
    run = together(compose(["norm=batch", "model.depth=1"], *FIVE))
    sizes = []
    for step, (losses_R, logits_RBK, labels_RB) in enumerate(run.steps()):
        assert len(losses_R) == len(logits_RBK) == len(labels_RB) == len(run.learning_rate(step + 1))
        sizes.append(len(losses_R))
        if step in {1, 3}:
            run.drop([0, 1])
        if step == 5:
            break
    assert sizes == [5, 5, 3, 3, 1, 1]
    assert len(run.weights()) == len(run.measure(0, True)) == len(run.evaluate("test")) == len(run.state()) == 1


@pytest.mark.slow
def test_a_cohort_interrupted_after_a_drop_resumes_with_the_same_bits(tmp_path: Path) -> None:
    """A cohort that begins with the states of some runs computes the same as one that dropped the others."""
    configs = compose(["norm=batch", "model.width=7", "model.depth=2", "diagnostics=full"], *FIVE)
    whole = together(configs)
    history(whole, 4)
    whole.drop([0, 4])
    history(whole, 2, 4)
    resumed = together(configs[1:4])
    resumed.load_state(through_disk(whole.state(), tmp_path))
    found, expected = history(resumed, 6, 6), history(whole, 6, 6)
    for seen in (*found, *expected):
        del seen["before"]  # the landscape needs the last mini-batch, which a resumed run does not have yet
    assert is_same(expected, found)


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("num_runs", [5, 7, 9])
def test_padding_rows_are_never_returned(num_runs: int) -> None:
    assert padded_size(num_runs) > num_runs
    configs = compose(["norm=batch", "model.dropout=0.2", "model.depth=1"], *[[f"seed={r}"] for r in range(num_runs)])
    run = StackedRuns(configs, data_of(configs[0]), CPU, 50)
    (outcome,) = itertools.islice(run.steps(), 1)
    assert {len(part) for part in outcome} == {num_runs}
    assert {len(part) for part in (run.state(), run.weights(), run.measure(0, True), run.evaluate("test"))} == {
        num_runs
    }


@pytest.mark.slow
def test_weights_are_copies_that_training_does_not_change() -> None:
    run = together(compose(["norm=batch", "model.depth=1"], *FIVE))
    before = run.weights()
    kept = [{name: value.clone() for name, value in weights.items()} for weights in before]
    history(run, 3)
    assert is_same(before, kept)
    assert not is_same(run.weights(), kept)


def test_weights_load_into_a_plain_network() -> None:
    run = together(compose(["norm=weight_standardization", "model.depth=1", "diagnostics=none"], *FIVE))
    history(run, 3)
    for weights in run.weights():
        assert all(value.is_contiguous() for value in weights.values())
        run.network.load_state_dict(weights)
