"""The laws of directions, with an output whose variances are known."""

import numpy as np
import pytest

from bnlab.studies.dead_direction import DIRECTION_LAWS, share_along_inverse_gamma
from bnlab.studies.definitions import deviations, norm_of


def test_layer_norm_has_no_variance_along_inverse_gamma_and_rms_norm_has():
    layer, rms = map(deviations, DIRECTION_LAWS)
    assert max(layer) < 1e-20
    assert min(rms) > 0.3
    assert [norm_of(name) for name in (*DIRECTION_LAWS, "batch_mean")] == ["layer", "rms", "batch"]


def test_the_share_is_that_of_the_direction():
    x = np.random.default_rng(0).normal(size=(4000, 2)) * [3.0, 1.0]
    assert share_along_inverse_gamma(x, np.array([1.0, 1e9])) == pytest.approx(9 / 5, rel=0.05)
    assert share_along_inverse_gamma(x, np.array([1e9, 1.0])) == pytest.approx(1 / 5, rel=0.05)
