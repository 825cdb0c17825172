"""Planted faults: each breaks the law that names it, with the right cause, and breaks no law but those expected."""

import contextlib
import dataclasses
import functools
import itertools

import faults
import pytest
import torch
from torch import nn

from bnlab.conformance import formula_laws, large_laws
from bnlab.conformance.inputs import SPACES, small_shapes
from bnlab.conformance.laws import LAWS, _judge, _with_what_they_rely_on, check
from bnlab.conformance.subject import Subject, open_subject
from bnlab.errors import ConfigError


def verdict_of(layer, law, like=None):
    return check(layer, "own", like, only=[law]).verdicts[law]


def by_law(report):
    return {row["law"]: row for row in report.as_dict()["laws"]}


@pytest.fixture
def smaller_large_inputs(monkeypatch):
    """Let the law of large inputs take ones that are just larger than those of other laws, in place of 2^19 values."""
    spaces = {num_axes: small_shapes(num_axes, 1, square=False)[-1][2:] for num_axes in large_laws.SIZES}
    monkeypatch.setattr(large_laws, "SIZES", {num_axes: (70, (8,), space) for num_axes, space in spaces.items()})
    monkeypatch.setattr(large_laws, "MANY_VALUES", 1)


TOPIC_OF = {law.name: law.topic for law in LAWS}
OF_SIZE = [fault for fault in faults.FAULTS if fault.law not in faults.QUICK_LAWS]
OTHERS = [fault for fault in faults.FAULTS if fault.law in faults.QUICK_LAWS]


@pytest.mark.parametrize("fault", OTHERS[::3], ids=lambda fault: fault.layer.__name__)
def test_a_planted_fault_is_found_with_its_cause(fault):
    verdict = verdict_of(fault.layer, fault.law)
    assert verdict.status == "does not hold"
    assert fault.words in verdict.cause


@pytest.mark.slow
@pytest.mark.parametrize("fault", OF_SIZE, ids=lambda fault: fault.layer.__name__)
def test_a_fault_of_large_inputs_is_found_with_its_cause_and_breaks_no_other_law(fault):
    failures = check(fault.layer, "own").failures
    assert list(failures) == [fault.law]
    assert fault.words in failures[fault.law].cause


@contextlib.contextmanager
def only_with(*nums_axes):
    """Let a check try inputs of these numbers of axes alone."""
    spaces = dict(SPACES)
    for num_axes in spaces.keys() - set(nums_axes):
        del SPACES[num_axes]
    try:
        yield
    finally:
        SPACES.clear()
        SPACES.update(spaces)  # in their order


PAIRS_OF_AXES = {"behavior": [(2, 4), (3, 4), (4, 5)]}  # among them the layout of images


@pytest.mark.slow
@pytest.mark.parametrize("topic", dict.fromkeys(law.topic for law in LAWS))
@pytest.mark.usefixtures("smaller_large_inputs")
def test_a_fault_breaks_exactly_the_laws_expected_and_each_alone_gives_the_same_verdict(topic):
    """With two of the four numbers of axes for each fault, which takes half of the time."""
    of_topic = [fault for fault in OTHERS if TOPIC_OF[fault.law] == topic]
    assert of_topic
    seen_alone = set()
    pairs = PAIRS_OF_AXES.get(topic, [(2, 4), (2, 5), (2, 3)])
    for fault, pair in zip(of_topic, itertools.cycle(pairs), strict=False):
        with only_with(*pair):
            assert_it_breaks_exactly_the_laws_expected(fault, seen_alone)


def assert_it_breaks_exactly_the_laws_expected(fault, seen_alone):
    name, whole = fault.layer.__name__, check(fault.layer, "own")
    assert (name, set(whole.failures)) == (name, {fault.law, *fault.also})
    assert fault.words in whole.failures[fault.law].cause
    for law in {fault.law, *whole.failures.keys() - seen_alone}:
        seen_alone.add(law)
        alone = by_law(check(fault.layer, "own", only=[law]))
        assert (name, alone[law]["status"]) == (name, "does not hold")
        assert alone == {law: row for law, row in by_law(whole).items() if law in alone}, name


class SinglePrecision(nn.BatchNorm2d):
    """Computes in float32 whatever the input's type."""

    def forward(self, x):
        tensors = [self.running_mean, self.running_var, self.weight, self.bias]
        tensors = [tensor.float() for tensor in tensors]
        y = nn.functional.batch_norm(x.float(), *tensors, self.training, self.momentum, self.eps)
        if self.training:
            self.running_mean.copy_(tensors[0])
            self.running_var.copy_(tensors[1])
        return y.to(x.dtype)


def assert_each_law_alone_gives_the_verdict_of_the_whole_check(layer):
    """Judge the laws that several others rely on once, and go on from what they have found for each of those."""
    report = check(layer, "own")
    found_by: dict[tuple[str, ...], Subject] = {}
    for law in LAWS:
        *before, last = [law] if law == LAWS[0] else [LAWS[0], *_with_what_they_rely_on([law.name])]
        assert last == law
        names = tuple(each.name for each in before)
        if names not in found_by:
            found_by[names] = open_subject(layer)
            for each in before:
                _judge(each, found_by[names])
        known = found_by[names]
        alone = dataclasses.replace(known, facts=dict(known.facts), findings=dict(known.findings))
        assert (law.name, _judge(law, alone)) == (law.name, report.verdicts[law.name])


@pytest.mark.slow
@pytest.mark.parametrize("layer", [faults.HealthyBatchNorm, faults.BothDetached, faults.BiasForgotten, SinglePrecision])
@pytest.mark.usefixtures("smaller_large_inputs")
def test_a_law_alone_gives_the_verdict_of_the_whole_check(layer):
    assert_each_law_alone_gives_the_verdict_of_the_whole_check(layer)


@pytest.mark.slow
@pytest.mark.usefixtures("smaller_large_inputs")
def test_a_check_of_one_law_gives_its_verdict_and_no_more():
    whole = by_law(check(faults.BiasForgotten, "own"))
    for law in ("input", "parameter gradients", "one update per step", "large input", "buffers"):
        alone = by_law(check(faults.BiasForgotten, "own", only=[law]))
        assert alone[law] == whole[law]
        assert list(alone) == ["input", *(each.name for each in _with_what_they_rely_on([law]))]


@pytest.mark.usefixtures("smaller_large_inputs")
def test_a_law_alone_gives_the_same_verdict_where_nothing_explains_the_output(monkeypatch):
    """Without known faults, since it takes a second to see that no three of them explain the output."""
    monkeypatch.setattr(formula_laws, "faults_in_training", lambda _: [])
    monkeypatch.setattr(formula_laws, "IN_EVAL", [])
    assert_each_law_alone_gives_the_verdict_of_the_whole_check(nn.InstanceNorm2d)


def test_only_the_laws_asked_for_and_those_they_rely_on_are_judged():
    judged = check(nn.BatchNorm1d, "own", only=["order", "eval gradient"]).verdicts
    assert list(judged) == ["input", "training output", "eval output", "eval gradient", "order"]


def test_a_law_relies_on_laws_judged_before_it():
    names = [law.name for law in LAWS]
    assert all(set(law.relies_on) <= set(names[:at]) for at, law in enumerate(LAWS))


def test_a_law_that_does_not_exist_is_named_with_a_cure():
    with pytest.raises(ConfigError, match=r"no law 'evl output'. Did you mean eval output\?"):
        check(nn.BatchNorm1d, "own", only=["evl output"])


def test_there_are_faults_of_every_topic():
    assert len({fault.layer for fault in faults.FAULTS}) == len(faults.FAULTS) >= 25
    assert {"training output", "eval output", "input gradient", "running update", "buffers"} <= {
        fault.law for fault in faults.FAULTS
    }


class Functional(nn.Module):
    """torch's formula with Keras' names: momentum is the old share; other shapes, other names."""

    def __init__(self, width, epsilon=1e-3, decay=0.99):
        super().__init__()
        self.epsilon, self.decay = epsilon, decay
        self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.register_buffer("moving_mean", torch.zeros(1, width, 1, 1))
        self.register_buffer("moving_variance", torch.ones(1, width, 1, 1))

    def forward(self, x):
        args = self.moving_mean.flatten(), self.moving_variance.flatten(), self.gamma.flatten(), self.beta.flatten()
        if x.dim() != 4:
            raise ValueError("images only")
        return nn.functional.batch_norm(x, *args, self.training, 1 - self.decay, self.epsilon)


@pytest.mark.slow
def test_a_layer_of_many_parts_and_one_with_other_names_are_found_to_be_healthy():
    wrapped = check(
        lambda num_channels: nn.Sequential(nn.Identity(), nn.BatchNorm1d(num_channels)),
        "wrapped",
        only=faults.QUICK_LAWS,
    )
    assert list(wrapped.failures) == ["half-precision state"]
    assert wrapped.facts["affine"] == "1.weight, 1.bias"
    keras = check(Functional, "keras", only=faults.QUICK_LAWS)
    assert list(keras.failures) == ["half-precision state"]
    assert keras.facts["eps"] == "0.001"
    assert keras.facts["momentum"] == "0.99 is the share of the old value that is kept, as in bnlab and the article"
    assert keras.facts["running variance"] == "moving_variance averages the unbiased variance, as PyTorch"


@pytest.mark.parametrize("only", [faults.QUICK_LAWS, pytest.param(None, marks=pytest.mark.slow)])
def test_a_healthy_layer_is_not_accused(only):
    report = check(faults.HealthyBatchNorm, "own", only=only)
    assert report.failures == {}
    assert report.facts["momentum"] == "0.1 is the share of the new value, as in PyTorch"


def test_the_example_of_a_fault_shows_that_fault_and_no_other():
    """The layer also stores the unbiased variance, which is not a fault."""
    example = verdict_of(faults.NotCounted, "running update").example
    assert (example.came, example.expected) == ([0, 0, 0, 0, 0], [0, 1, 2, 3, 4])


class UnbiasedMeanTooFast(nn.BatchNorm2d):
    """Moves the mean twice; its variance, which is unbiased, is right."""

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(x.double().mean((0, 2, 3)).to(self.running_mean.dtype), self.momentum)
        return super().forward(x)


def test_a_running_variance_that_is_right_is_shown_to_be_what_it_should_be():
    verdict = verdict_of(UnbiasedMeanTooFast, "running update")
    assert "running_mean is updated twice per batch" in verdict.cause
    assert "unbiased variance" in verdict.example.given


@pytest.mark.usefixtures("smaller_large_inputs")
def test_the_law_of_large_inputs_names_the_cause_and_the_smallest_size():
    verdict = verdict_of(faults.FirstSamplesOnly, "large input")
    assert "statistics are those of the first 64 samples alone, from 65 samples on" in verdict.cause
    assert verdict.example.shape[0] == 65


class TwoFaults(faults.UnbiasedOutput, faults.EpsOutside):
    pass


class ThreeFaults(faults.BiasScaled, TwoFaults):
    def eval_forward(self, x):
        return faults.HealthyBatchNorm.eval_forward(self, x)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (TwoFaults, ["unbiased", "outside"]),
        (ThreeFaults, ["unbiased", "outside", "multiplied by the weight"]),
    ],
)
def test_several_faults_at_once_are_told_apart(layer, words):
    cause = verdict_of(layer, "training output").cause
    assert all(word in cause for word in words)


class HalfTheRange(faults.OnlyTrainsOtherwise):
    """Divides by half the range of the channel."""

    def train_forward(self, x):
        mean, rows = self.mean_of(x), x.transpose(0, 1).flatten(1)
        self.move(mean, self.var_of(x, mean))
        half = (rows.amax(1) - rows.amin(1)) / 2
        return self.affine((x - faults.per_channel(mean, x)) / faults.per_channel(half + self.eps, x))


@pytest.mark.slow
def test_an_unknown_fault_is_reported_as_unknown_and_shown():
    verdict = verdict_of(HalfTheRange, "training output")
    assert verdict.cause.startswith("no known cause explains it; the largest difference is ")
    x, came = torch.tensor(verdict.example.given), torch.tensor(verdict.example.came)
    half = (x.max() - x.min()) / 2 + 1e-5
    torch.testing.assert_close(came, 1.5 * (x - x.mean()) / half + 0.25)


def test_the_smallest_example_is_small_and_its_numbers_are_right():
    example = verdict_of(faults.UnbiasedOutput, "training output").example
    assert example.shape == (2, 1)
    x = torch.tensor(example.given).double()
    expected = 1.5 * (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() + 0.25
    torch.testing.assert_close(torch.tensor(example.expected).double(), expected, rtol=1e-6, atol=0)
    came = 1.5 * (x - x.mean()) / (x.var(correction=1) + 1e-5).sqrt() + 0.25
    torch.testing.assert_close(torch.tensor(example.came).double(), came, rtol=1e-6, atol=0)


def test_a_fault_of_eps_is_shown_where_it_is_seen():
    """At a variance of about 1 it would be in the sixth digit."""
    example = verdict_of(faults.EpsOutside, "training output").example
    assert abs(example.came[0][0] - example.expected[0][0]) > 0.01 * abs(example.expected[0][0])


class Crashes(faults.HealthyBatchNorm):
    def eval_forward(self, x):  # noqa: ARG002
        raise RuntimeError("first line\nsecond line")


def test_a_crash_is_a_law_that_does_not_hold():
    report = check(Crashes, "own", only=["eval output", "training output"])
    assert report.verdicts["eval output"].cause == "it crashes: RuntimeError: first line"
    assert report.verdicts["training output"].status == "holds"


class TakesNothing(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.num_channels = num_channels

    def forward(self, x):
        raise RuntimeError(f"no {self.num_channels} channels for {x.dim()} axes")


class NotANumber(TakesNothing):
    def forward(self, x):
        return x * float("nan")


@pytest.mark.parametrize(("layer", "words"), [(TakesNothing, "no 4 channels for 2 axes"), (NotANumber, "not a number")])
def test_what_cannot_be_judged_further_fails_one_law_only(layer, words):
    report = check(layer, "own")
    assert list(report.failures) == ["input"]
    assert words in report.failures["input"].cause


class HandWritten(torch.autograd.Function):
    """A backward with 1/(m-1) in the term of the variance, and a mean for the weight."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        inverse = (var + eps).rsqrt()
        x_hat = (x - mean) * inverse
        ctx.save_for_backward(x_hat, inverse, weight)
        return x_hat * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx, g):
        x_hat, inverse, weight = ctx.saved_tensors
        of_weight, of_bias = ((value).sum((0, 2, 3)) for value in (g * x_hat, g))
        m = x_hat.numel() / len(weight)
        through_mean, through_var = (value.view(1, -1, 1, 1) for value in (of_bias / m, of_weight / (m - 1)))
        dx = weight.view(1, -1, 1, 1) * inverse * (g - through_mean - x_hat * through_var)
        return dx, of_weight / m, of_bias, None


class HandWrittenBackward(faults.HealthyBatchNorm):
    def train_forward(self, x):
        if x.dim() != 4:
            raise ValueError("images only")
        with torch.no_grad():
            self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return HandWritten.apply(x, self.weight, self.bias, self.eps)


@pytest.mark.slow
def test_faults_of_a_backward_written_by_hand_are_found():
    report = check(HandWrittenBackward, "own")
    assert "1/(m-1) of an unbiased variance" in report.verdicts["input gradient"].cause
    assert report.verdicts["parameter gradients"].cause == "the weight's gradient is a mean, not a sum"
    assert report.verdicts["training output"].status == "holds"
    assert set(report.failures) == {"input gradient", "parameter gradients", "finite differences", "gradient sums"}


class DoubledBias(torch.autograd.Function):
    """Adds the bias; its gradient is twice as large."""

    @staticmethod
    def forward(ctx, x, bias):  # noqa: ARG004
        return x + faults.per_channel(bias, x)

    @staticmethod
    def backward(ctx, g):  # noqa: ARG004
        return g, 2 * g.sum(faults.axes_of(g))


class ShiftAlone(nn.Module):
    """Has no scale, so that the bias's gradient cannot be compared with the weight's."""

    def __init__(self, num_channels):
        super().__init__()
        self.eps, self.bias = 1e-5, nn.Parameter(torch.zeros(num_channels))

    def forward(self, x):
        axes = faults.axes_of(x)
        mean, var = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        return DoubledBias.apply((x - mean) / (var + self.eps).sqrt(), self.bias)


def test_a_wrong_gradient_of_a_shift_without_a_scale_is_found():
    verdict = verdict_of(ShiftAlone, "parameter gradients")
    assert verdict.status == "does not hold"
    assert verdict.cause.startswith("no known cause explains it")


def interleaved(x, num_groups, eps):
    num_samples, num_channels, *space = x.shape
    grouped = x.reshape(num_samples, num_channels // num_groups, num_groups, -1).transpose(1, 2)
    mean, var = grouped.mean((2, 3), keepdim=True), grouped.var((2, 3), correction=0, keepdim=True)
    return ((grouped - mean) / (var + eps).sqrt()).transpose(1, 2).reshape(num_samples, num_channels, *space)


class Interleaved(nn.Module):
    def __init__(self, num_groups, num_channels):
        super().__init__()
        self.num_groups, self.eps = num_groups, 1e-5
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        return interleaved(x, self.num_groups, self.eps).to(x.dtype) * faults.per_channel(self.weight, x)


class CenteredRMS(nn.RMSNorm):
    def forward(self, x):
        return nn.functional.layer_norm(x, self.normalized_shape, self.weight, None, 1e-5)


def test_faults_of_other_families_are_found():
    groups = verdict_of(functools.partial(Interleaved, 2), "training output", "group")
    assert "the groups are channels c, c+G, c+2G" in groups.cause
    rms = verdict_of(functools.partial(CenteredRMS, eps=1e-5), "training output", "rms")
    assert "as LayerNorm" in rms.cause
    assert rms.reason == "this is the formula of --like layer"
    layer = verdict_of(nn.BatchNorm1d, "training output", "layer")
    assert "per channel over the batch, as BatchNorm's" in layer.cause


class StatisticsOfPositions(nn.Module):
    """Reduces over the batch axis alone, so that its running mean takes the shape of an image."""

    def __init__(self, num_channels):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(num_channels))

    def forward(self, x):
        mean = x.mean(0) if self.training else self.running_mean
        self.running_mean = (0.9 * self.running_mean + 0.1 * mean.detach()) if self.training else self.running_mean
        return x - mean


@pytest.mark.slow
def test_a_tensor_that_takes_the_shape_of_the_input_is_named():
    report = check(StatisticsOfPositions, "own", only=faults.QUICK_LAWS)
    assert report.verdicts["buffers"].cause.startswith(
        "a tensor takes the shape of the input (running_mean (4,) -> (4, 4))"
    )
    assert "over the batch axis alone" in report.verdicts["training output"].cause


class OverwritesItsInput(nn.Module):
    def __init__(self, num_channels):  # noqa: ARG002
        super().__init__()

    def forward(self, x):
        x -= x.mean(1, keepdim=True)
        return x / x.square().mean(1, keepdim=True).add(1e-5).sqrt()


def test_a_layer_that_overwrites_its_input_is_judged_by_all_laws():
    report = check(OverwritesItsInput, "own", only=faults.QUICK_LAWS)
    assert "modified in place" in report.failures["input untouched"].cause
    assert not [verdict for verdict in report.verdicts.values() if "cannot be tested" in verdict.reason]


def test_a_law_that_cannot_be_tested_is_a_verdict(monkeypatch):
    def breaks(_):
        raise ZeroDivisionError("nobody thought of this layer")

    broken = [dataclasses.replace(law, judge=breaks) if law.name == "order" else law for law in LAWS]
    monkeypatch.setattr("bnlab.conformance.laws.LAWS", tuple(broken))
    verdict = check(nn.BatchNorm1d, "own", only=["order"]).verdicts["order"]
    assert verdict.status == "does not apply"
    assert verdict.reason == "it cannot be tested on this layer: ZeroDivisionError: nobody thought of this layer"


@pytest.mark.parametrize("correction", [0, 1])
def test_an_rms_norm_that_divides_by_the_standard_deviation_is_told_so(correction):
    class Deviation(nn.RMSNorm):
        def forward(self, x):
            var = x.var(tuple(range(1, x.dim())), correction=correction, keepdim=True)
            return x / (var + 1e-5).sqrt() * faults.per_channel(self.weight, x)

    cause = verdict_of(functools.partial(Deviation, eps=1e-5), "training output", "rms").cause
    assert cause.startswith("it divides by the standard deviation")
    assert cause.endswith("not the root mean square")
