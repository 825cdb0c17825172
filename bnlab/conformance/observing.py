"""Outputs of a layer, beside those of its family's formula.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import math

import torch
from torch import Tensor, nn

from bnlab.conformance.affine import affine_of, repeated
from bnlab.conformance.examples import Example, show
from bnlab.conformance.explaining import PRECISE, Case, Explanation, Result, agrees, difference
from bnlab.conformance.inputs import random_input, small_input, small_shapes
from bnlab.conformance.law_results import NotApplicableError, Verdict, fails
from bnlab.conformance.running_fit import roles_of
from bnlab.conformance.states import tensor_named
from bnlab.conformance.subject import LayerError, Subject, built, named_options, once
from bnlab.conformance.variants import CORRECT, FormulaInputs, Variant, output_of

MEANS, VARIANCES = (0.5, -1.0, 2.0, 0.25), (0.25, 4.0, 2.25, 1.5625)
"""Running statistics for the tests of eval mode; the roots of the variances are short numbers."""

VISIBLE = 1e-3
"""An example whose numbers differ by less than this share of the largest is shown only if no clearer one exists."""

USUAL_EPS = 1e-5
LARGEST_EPS = 0.1
"""A larger measured value is not an eps: the layer does not normalize at all."""

TINY = 10
"""Inputs whose largest value is below this many sqrt(eps) test whether eps enters correctly."""


@once
def eps_of(subject: Subject) -> float:
    """Return the eps of a layer: its attribute, its option, or a measured value; add it to the facts."""
    value = named_options(subject, "eps", "epsilon", "variance_epsilon")
    text = f"{value:g}" if value is not None else ""
    if value is None and "eps" in subject.options:  # torch.nn.RMSNorm's None
        value = torch.finfo(torch.float64).eps
        text = "None: the smallest step from 1 of the input's type"
    if value is None:
        value = _measured_eps(subject)
        text = f"{value or 0:.3g}, measured; the layer has no attribute eps"
    if value is None or value <= 0:
        value, text = USUAL_EPS, f"not found; taken to be {USUAL_EPS:g}"
    subject.facts["eps"] = text
    return float(value)


def inputs_of(subject: Subject) -> list[Tensor]:
    """Return the test inputs of a formula: small ones from the smallest up, ones with tiny values, random ones.

    The tiny values are about sqrt(eps), so that eps is about as large as the variance. They have the smallest and the
    largest of the small shapes, for each number of axes.
    """
    groups = _num_groups(subject) if subject.claims.formula == "group" else 1
    unit = next((c for c in range(groups, subject.num_channels, groups) if can_be_built(subject, c)), None)
    unit = unit or subject.num_channels
    shapes = []
    for num_axes, shape in subject.shapes.items():
        square = num_axes > 2 and len(set(shape)) == 1
        shapes += [s for s in small_shapes(num_axes, unit, square=square) if can_be_built(subject, s[1])]
    shapes = sorted((s for s in shapes if _values_per_statistic(subject, s) > 1), key=lambda s: torch.Size(s).numel())
    small = [small_input(shape) for shape in shapes]
    smallest, largest = ({x.dim(): x for x in inputs} for inputs in (reversed(small), small))
    ends = sorted([*smallest.values(), *largest.values()], key=Tensor.numel)
    tiny = [x * (0.5 * eps_of(subject) ** 0.5) for x in ends]
    return [*small, *tiny, *(random_input(shape) for shape in subject.shapes.values())]


def formula_inputs(subject: Subject, layer: nn.Module, x: Tensor) -> FormulaInputs:
    """Return the inputs of a formula that come from a layer: parameters, eps, groups and running statistics."""
    num_channels = x.shape[1]
    affine = affine_of(layer, num_channels)
    weight, bias = (
        None if name is None else tensor_named(layer, name).double().reshape(-1).clone()
        for name in (affine.scale, affine.shift)
    )
    start = torch.zeros(num_channels).double(), torch.ones(num_channels).double()
    found = {"start": start}
    running = _running_of(subject, layer)
    if running is not None:
        found |= {"running": running, "swapped": (running[1], running[0])}
    return FormulaInputs(x, weight, bias, eps_of(subject), _num_groups(subject), found)


def _running_of(subject: Subject, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return copies of a layer's running mean and variance (C,); None if it has none."""
    names = roles_of(subject)
    if names is None:
        return None
    mean, var = (tensor_named(layer, name).double().reshape(-1).clone() for name in names)
    return mean, var


def observe_training(subject: Subject) -> list[Case]:
    """Return a layer's outputs in training mode, one case per input."""
    cases = []
    for x in inputs_of(subject):
        layer = subject.fresh(x.shape[1])
        given = formula_inputs(subject, layer, x)
        actual = subject.run(layer, x.clone())
        add_moved(subject, layer, given)
        cases.append(Case(given, actual))
    return cases


def add_moved(subject: Subject, layer: nn.Module, given: FormulaInputs) -> None:
    """Add to a formula's inputs the running statistics of a layer, if it has them, after a training batch."""
    moved = _running_of(subject, layer)
    if moved is not None:
        given.statistics["moved"] = moved


def observe_eval(subject: Subject) -> list[Case]:
    """Return a layer's outputs in eval mode after one training batch, with running statistics set to short numbers."""
    cases = []
    for x in inputs_of(subject):
        layer = subject.fresh(x.shape[1])
        seen = random_input(tuple(x.shape), seed=3)
        if subject.claims.keeps_running_statistics:
            subject.run(layer, seen)
        is_tiny = float(x.abs().max()) < TINY * eps_of(subject) ** 0.5
        set_running(subject, layer, variance=eps_of(subject) if is_tiny else 1.0)
        layer.eval()
        given = formula_inputs(subject, layer, x)
        given.statistics["before"] = moments(seen)
        cases.append(Case(given, subject.run(layer, x.clone())))
    return cases


def set_running(subject: Subject, layer: nn.Module, variance: float = 1.0) -> None:
    """Set a layer's running mean and variance, if it has them, to values that no test batch has.

    Args:
        subject: The findings about this kind of layer, which name its buffers.
        layer: The layer whose buffers are set.
        variance: Scale of the values: the variances are about this, the means about its square root.
    """
    pairs = ((MEANS, variance**0.5), (VARIANCES, variance))
    for name, (values, size) in zip(roles_of(subject) or (), pairs, strict=False):
        tensor = tensor_named(layer, name)
        tensor.copy_((size * repeated(values, tensor.numel())).view(tensor.shape))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance (C,) of each channel."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    return x.mean(axes), x.var(axes, correction=0)


def verdict_of(
    cases: list[Case], correct: Variant, found: Explanation | None, mode: str, result: Result = output_of
) -> Verdict:
    """Return the verdict on a wrong result: the likely cause, and the smallest input that shows the fault clearly.

    Args:
        cases: Results of the layer, the smallest input first.
        correct: The formula that the layer should have.
        found: The formula that gives the layer's results; None if none does.
        mode: The layer's mode, as text.
        result: Function that computes the compared quantity from a formula: its output, or a gradient of it.
    """
    try:
        pairs = [(case, result(correct, case.given)) for case in cases]
    except ValueError:
        cause = "no running mean and variance are found, which the formula needs" if found is None else found.cause
        return fails(cause, _example_of(cases[0], None, mode))
    wrong = [(c, e) for c, e in pairs if not agrees(c.actual, e, PRECISE, c.scale)]
    visible = [(c, e) for c, e in wrong if difference(c.actual, e) > VISIBLE * float(e.abs().max())]
    case, expected = (visible or wrong)[0]
    if found is not None:
        cause = found.cause
    else:
        gap, shape = difference(case.actual, expected), tuple(case.given.x.shape)
        cause = f"no known cause explains it; the largest difference is {gap:.3g}, on an input of shape {shape}"
    return fails(cause, _example_of(case, expected, mode))


def _example_of(case: Case, expected: Tensor | None, mode: str) -> Example:
    """Return an example on which the layer and the formula differ."""
    given, words = case.given, [mode, "float64"]
    for name, value in (("weight", given.weight), ("bias", given.bias)):
        if value is not None:
            words.append(f"{name} {show(value)}")
    words.append(f"eps {given.eps:.3g}")
    if mode == "eval mode" and "running" in given.statistics:
        mean, var = given.statistics["running"]
        words.append(f"running mean {show(mean)}, variance {show(var)}")
    return Example(", ".join(words), tuple(given.x.shape), show(given.x), show(case.actual), show(expected))


def correct_variant(subject: Subject) -> Variant:
    """Return the formula of a layer's family.

    Raises:
        NotApplicableError: The layer has a formula of its own.
    """
    if subject.claims.formula is None:
        raise NotApplicableError("it has a formula of its own")
    return CORRECT[subject.claims.formula]


def explanation_of_output(subject: Subject, otherwise: str) -> Explanation:
    """Return the formula that explains the training output, so that its faults are not reported twice.

    Args:
        subject: The layer, after the law of the training output.
        otherwise: The reason why a law does not apply, if nothing explains the output.

    Raises:
        NotApplicableError: The layer has a formula of its own, or nothing explains its output.
    """
    correct_variant(subject)
    found: Explanation | None = subject.findings.get("output")
    if found is None or found.only_where_it_fails:
        raise NotApplicableError(otherwise)
    return found


def _values_per_statistic(subject: Subject, shape: tuple[int, ...]) -> int:
    num_samples, num_channels, *space = shape
    shared = {"batch": num_samples, "instance": 1, "group": num_channels // _num_groups(subject)}
    return shared.get(subject.claims.formula or "", num_channels) * math.prod(space)


@once
def _num_groups(subject: Subject) -> int:
    return int(named_options(subject, "num_groups", "groups") or 1)


def can_be_built(subject: Subject, num_channels: int) -> bool:
    """Return whether a layer can be built for a number of channels."""
    try:
        built(subject.build, num_channels)
    except Exception:  # a constructor may raise anything
        return False
    return True


def _measured_eps(subject: Subject) -> float | None:
    """Return the eps that explains the outputs for inputs of plus and minus x; None if no eps does.

    With s = |y - bias| / |weight|, an eps inside the root gives (x/s)^2 = k^2 x^2 + eps, and one outside it gives
    x/s = k x + eps. Both are straight lines, which three values of x confirm or refute. k is 1, or sqrt(m/(m-1)).
    """
    sizes = torch.tensor([1e-1, 1e-2, 1e-3], dtype=torch.float64)
    try:
        divisors = torch.stack([_divisor(subject, float(size)) for size in sizes])
    except LayerError:
        return None
    if not bool(torch.isfinite(divisors).all()):
        return None
    for power in (2, 1):
        lines = torch.stack([sizes**power, torch.ones_like(sizes)], 1)
        solution = torch.linalg.lstsq(lines, (divisors**power)[:, None]).solution[:, 0]
        misfit = (lines @ solution / divisors**power - 1).abs().max()
        if float(misfit) < 1e-5 and 0 < float(solution[1]) < LARGEST_EPS:
            return float(f"{solution[1]:.3g}")
    return None


def _divisor(subject: Subject, size: float) -> Tensor:
    """Return the divisor that a layer uses when half of all values are plus and half minus this size."""
    shape = subject.shapes[min(subject.shapes)]
    x = torch.full((6, *shape[1:]), size, dtype=torch.float64)
    x[::2] *= -1
    layer = subject.fresh()
    given = affine_of(layer, subject.num_channels)
    y_C = subject.run(layer, x.clone())[1].reshape(subject.num_channels, -1)[:, 0]
    weight = 1.0 if given.scale is None else float(tensor_named(layer, given.scale).reshape(-1)[0])
    bias = 0.0 if given.shift is None else float(tensor_named(layer, given.shift).reshape(-1)[0])
    return x[1].reshape(subject.num_channels, -1)[0, 0] * weight / (y_C[0] - bias)
