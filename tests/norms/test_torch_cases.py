"""Every case that PyTorch tests its own norms with, run against ours: outputs, gradients and buffers."""

import math
import warnings
from unittest import mock

import pytest
import torch
from torch import nn

from bnlab.norms.batch import BatchNorm
from bnlab.norms.group import GroupNorm, InstanceNorm, LayerNorm, RMSNorm

pytestmark = pytest.mark.slow_but(0)  # torch's list alone takes seconds to import, whichever test asks first

LAYERS = {
    nn.BatchNorm1d: 8,
    nn.BatchNorm2d: 7,
    nn.BatchNorm3d: 7,
    nn.GroupNorm: 10,
    nn.LayerNorm: 7,
    nn.InstanceNorm1d: 6,
    nn.InstanceNorm2d: 6,
    nn.InstanceNorm3d: 6,
    nn.RMSNorm: 6,
}
"""Torch's layer -> smallest number of cases, so that the test fails if a new torch has none."""


def torch_layers():
    """Return torch's own list of layers with their cases; its import takes seconds, so it waits for the first test."""
    with warnings.catch_warnings(), mock.patch.object(torch.backends, "disable_global_flags"):
        warnings.simplefilter("ignore")  # theirs, at import; and it would forbid our own runs to set cudnn's flags
        from torch.testing._internal.common_modules import module_db  # noqa: PLC0415
    return module_db


def cases(layer_class, training):
    info = next(info for info in torch_layers() if info.module_cls is layer_class)
    generator = torch.Generator().manual_seed(0)
    inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
    for number, case in enumerate(inputs):
        (x,) = case.forward_input.args
        values = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        theirs = layer_class(*case.constructor_input.args, **case.constructor_input.kwargs).double().train(training)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        yield f"{layer_class.__name__}-{number}-{case.desc}-{'train' if training else 'eval'}", theirs, 2 * values + 1


def why_not(theirs, x):
    """Return why bnlab's layer has no such case, or None."""
    if isinstance(theirs, nn.modules.instancenorm._InstanceNorm):
        if x.dim() == theirs._get_no_batch_dim():
            return "no batch axis: a bnlab norm takes (N, C, *S)"
        if theirs.track_running_stats:
            return "running statistics: InstanceNorm has none here, as in its paper"
    return None


def equivalent(theirs):
    """Return bnlab's layer with torch's parameters, and the shape in which it takes the input."""
    shape = None
    if isinstance(theirs, nn.modules.batchnorm._BatchNorm):
        return BatchNorm.from_torch(theirs), shape
    if isinstance(theirs, nn.GroupNorm):
        affine = theirs.weight is not None
        ours = GroupNorm(theirs.num_channels, num_groups=theirs.num_groups, eps=theirs.eps, affine=affine)
    elif isinstance(theirs, nn.modules.instancenorm._InstanceNorm):
        ours = InstanceNorm(theirs.num_features, eps=theirs.eps, affine=theirs.weight is not None)
    else:  # theirs normalize the last axes, with parameters per position: rows of so many channels are the same
        num_channels = math.prod(theirs.normalized_shape)
        kind = LayerNorm if isinstance(theirs, nn.LayerNorm) else RMSNorm
        ours, shape = kind(num_channels, eps=theirs.eps, affine=theirs.weight is not None), (-1, num_channels)
    ours = ours.double().train(theirs.training)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():  # where theirs has no bias, ours stays 0
            getattr(ours, name).copy_(parameter.flatten())
    return ours, shape


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layer_class", LAYERS)
def test_ours_does_what_torchs_layer_does(layer_class, training):
    for name, theirs, x in cases(layer_class, training):
        if why_not(theirs, x) is None:
            compare(name, theirs, x)


def compare(case, theirs, x):
    ours, shape = equivalent(theirs)
    results = []
    for layer, x_layer in ((ours, x.reshape(shape) if shape and x.numel() else x), (theirs, x)):
        for _ in range(2):  # the second pass meets running statistics that have moved
            leaf = x_layer.detach().clone().requires_grad_()
            y = layer(leaf)
        parameters = dict(layer.named_parameters())
        scalar = (y.flatten() * torch.cos(torch.arange(y.numel(), dtype=torch.float64))).sum()
        grads = torch.autograd.grad(scalar, [leaf, *parameters.values()])
        results.append(
            {
                "output": y.detach().reshape(x.shape),
                "input gradient": grads[0].reshape(x.shape),
                **{f"{name} gradient": g.flatten() for name, g in zip(parameters, grads[1:], strict=True)},
                **dict(layer.named_buffers()),
            }
        )
    for name, expected in results[1].items():
        torch.testing.assert_close(results[0][name], expected, rtol=1e-9, atol=1e-10, msg=f"{case}: {name} differs")


def test_no_case_is_left_out_without_a_reason():
    for layer, at_least in LAYERS.items():
        for training in (True, False):
            own = list(cases(layer, training))
            assert len(own) >= at_least
            left_out = {case[0].split("-")[2] for case in own if why_not(*case[1:])}
            instance = {"tracking_stats", "tracking_stats_no_batch_dim", "no_batch_dim"}
            assert left_out == (instance if issubclass(layer, nn.modules.instancenorm._InstanceNorm) else set())
