"""The reference formulas against NumPy and torch's own functions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlab.conformance.explaining import Case, agrees, difference, explain
from bnlab.conformance.inputs import random_input, small_input, small_shapes
from bnlab.conformance.known_faults import IN_TRAINING
from bnlab.conformance.variants import CORRECT, FormulaInputs, Variant, family_of, output_of

WEIGHT, BIAS = torch.tensor([1.5, 0.5, 2.0, -0.75]).double(), torch.tensor([0.25, -1.0, 0.5, 2.0]).double()


def formula_inputs(shape, eps=1e-3):
    return FormulaInputs(random_input(shape), WEIGHT, BIAS, eps, 2, {})


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 3, 2), (5, 4, 3, 2, 2)])
def test_correct_variants_are_torchs_functions(shape):
    given = formula_inputs(shape)
    x, affine = given.x, (WEIGHT, BIAS, 1e-3)
    expected = {
        "batch": F.batch_norm(x, None, None, WEIGHT, BIAS, training=True, eps=1e-3),
        "layer": F.group_norm(x, 1, *affine),
        "group": F.group_norm(x, 2, *affine),
        "rms": F.rms_norm(x, x.shape[1:], eps=1e-3) * WEIGHT.view(1, -1, *[1] * (x.dim() - 2)),
    }
    if x.dim() > 2:
        expected["instance"] = F.instance_norm(x, weight=WEIGHT, bias=BIAS, eps=1e-3)
    for name, value in expected.items():
        used = replace(given, bias=None) if name == "rms" else given
        torch.testing.assert_close(output_of(CORRECT[name], used), value, rtol=1e-12, atol=1e-12)


AXES = {
    "channel": (0, 2, 3),
    "position": (0,),
    "all": (0, 1, 2, 3),
    "instance": (2, 3),
    "sample": (1, 2, 3),
    "pixel": (1,),
    "last": (0, 1, 2),
    "features": (3,),
}


@pytest.mark.parametrize("over", AXES)
def test_every_choice_of_axes_is_numpys(over):
    x = random_input((5, 4, 3, 2)).numpy()
    mean, var = (getattr(x, name)(AXES[over], keepdims=True) for name in ("mean", "var"))
    expected = (x - mean) / np.sqrt(var + 1e-3)
    plain = FormulaInputs(torch.from_numpy(x), None, None, 1e-3, 1, {})
    np.testing.assert_allclose(output_of(Variant(over=over), plain).numpy(), expected, rtol=1e-11, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=0, max_size=3), st.integers(2, 6), st.sampled_from(["group", "interleaved"])
)
def test_groups_are_apart_and_together_again(space, num_samples, over):
    x = random_input((num_samples, 4, *space))
    if x[0].numel() == 4 and over == "group":
        x = x.repeat_interleave(2, 1)[:, :4]
    y = output_of(Variant(over=over), FormulaInputs(x, None, None, 1e-12, 2, {}))
    channels = [(0, 1), (2, 3)] if over == "group" else [(0, 2), (1, 3)]
    for pair in channels:
        rows = x[:, list(pair)].flatten(1)
        expected = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, correction=0, keepdim=True) + 1e-12).sqrt()
        torch.testing.assert_close(y[:, list(pair)].flatten(1), expected)


def test_a_variant_that_cannot_be_applied_is_refused():
    given = formula_inputs((5, 4, 3))
    for variant in (Variant(along="last"), Variant(source="running"), Variant(over="group")):
        with pytest.raises(ValueError, match=r"do not fit|no statistics|do not divide"):
            output_of(variant, replace(given, num_groups=3))


def test_detaching_changes_no_value_but_the_gradient():
    given = formula_inputs((5, 4, 3))
    x = given.x.clone().requires_grad_()
    grads = []
    for held in ("nothing", "mean", "variance", "both"):
        y = output_of(Variant(held=held), replace(given, x=x))
        torch.testing.assert_close(y, output_of(Variant(), given))
        grads.append(torch.autograd.grad(y.square().sum(), x)[0])
    assert all(difference(a, b) > 1e-3 for i, a in enumerate(grads) for b in grads[:i])


OF_BATCH = [
    fault
    for fault in IN_TRAINING
    if (turned := replace(CORRECT["batch"], **fault.changes)) != CORRECT["batch"]
    and turned.source == "batch"
    and turned.over not in {"group", "interleaved"}
]
"""All faults except those that need running statistics or groups, or change nothing in this family."""


@folded("fault", OF_BATCH)
def test_a_known_fault_explains_its_own_output(fault):
    variant = replace(CORRECT["batch"], **fault.changes)
    inputs = [scale * random_input(shape) for shape in ((4, 4, 4), (4, 4, 4, 4)) for scale in (1.0, 0.01)]
    givens = [replace(formula_inputs((4, 4)), x=x) for x in inputs]
    found = explain([Case(given, output_of(variant, given)) for given in givens], CORRECT["batch"], IN_TRAINING)
    assert found.causes == (fault.cause,)


def test_a_family_is_recognized_by_its_variant():
    assert family_of(Variant(over="sample", scale="none")) == "layer"
    assert family_of(Variant(over="sample", eps="outside")) is None


def test_agreement_is_relative_and_never_with_what_is_not_a_number():
    one = torch.ones(3, dtype=torch.float64)
    assert agrees(one * 1e6, one * 1e6 + 1e-4, 1e-9)
    assert not agrees(one, one + 1e-6, 1e-9)
    assert not agrees(one * float("nan"), one * float("nan"), 1)
    assert not agrees(one, torch.ones(4), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5))
def test_small_inputs_are_whole_and_no_channel_is_constant(unit, num_axes):
    for shape in small_shapes(num_axes, unit, square=False):
        x = small_input(shape)
        assert bool((x == x.round()).all())
        assert float(x.abs().max()) <= 5
        assert float(x.transpose(0, 1).flatten(1).std(1).min()) > 0
