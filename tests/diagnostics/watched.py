"""Networks to look at, and what NumPy has to work with: their stored activations. For the tests of diagnostics."""

import contextlib
import functools

import numpy as np
import torch

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Observation, ProbeBatch
from bnlab.diagnostics.measuring import measure_all
from bnlab.models.blocks import ACTIVATIONS
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import build_norm
from bnlab.schema_models import CNNConfig, MLPConfig

NUM_IMAGES = 40
SHAPE = (2, 6, 6)


def network(
    model="mlp", activation="tanh", norm="batch", placement="before", init_std=None, depth=3, seed=0, **options
):
    shared = {"activation": activation, "dropout": 0.0, "init": "auto", "init_std": init_std}
    if model == "mlp":
        config = MLPConfig(name="mlp", depth=depth, width=12, **shared)
    else:
        config = CNNConfig(name="cnn", depth=2, width=4, num_stages=2, **shared)
    net = build_model(config, SHAPE, 5, functools.partial(build_norm, norm, **options), placement)
    seed_weights(net, config, seed)
    return net


def images(num_images=NUM_IMAGES, seed=0):
    return torch.randn((num_images, *SHAPE), generator=torch.Generator().manual_seed(seed))


def probe(activation="tanh", seed=0, num_images=NUM_IMAGES, **more):
    return ProbeBatch(images(num_images, seed), torch.arange(num_images) % 5, activation, **more)


def stored(net, inputs, training=True):
    """Run a network and keep, per role, what goes into and comes out of each activation, as float64 arrays."""
    kept = {}

    def keep(role):
        return lambda _, args, output: kept.__setitem__(
            role, tuple(x.detach().double().numpy() for x in (*args, output))
        )

    hooks = [module.register_forward_hook(keep(role)) for role, module in net.activations.items()]
    net.train(training)(inputs)
    for hook in hooks:
        hook.remove()
    return kept


def seen(activation, z, **more):
    """Return an observation of one layer, called x."""
    a = ACTIVATIONS[activation]()(z)
    return Observation(
        preactivations={"x": z}, activations={"x": a}, weight_gradients={}, activation=activation, **more
    )


def measured(name, net, batch, **more):
    """Return what one diagnostic of the catalog says of a network, as floats."""
    (values,) = measure_all(build_diagnostics([name]), net, net, batch, **more).values()
    return {role: value.item() for role, value in values.items()}


def by_unit(x):
    """Return an array's values by unit, (U, M)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


@contextlib.contextmanager
def in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
