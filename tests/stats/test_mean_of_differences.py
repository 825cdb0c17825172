import numpy as np
import pytest

from bnlab.stats.estimate import mean_over_seeds
from bnlab.stats.mean_interval import interval_of_means, mean_of_differences


def test_it_is_the_interval_of_verdicts_within_what_can_be() -> None:
    differences = [0.4, 0.9, 0.95, 0.1, -0.2]
    low, high = interval_of_means(np.array([differences]))
    found = mean_of_differences(differences)
    assert (found.low, found.high) == (low[0], high[0])
    cut = mean_of_differences(differences, within=(-1.0, 1.0))
    assert (cut.low, cut.high) == (max(low[0], -1.0), min(high[0], 1.0))
    assert found.value == pytest.approx(0.43)


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(number: int) -> None:
    found = mean_of_differences([0.5] * number)
    assert (found.value, found.low, found.high, found.n) == (0.5, None, None, number)


def test_the_ends_at_0_and_1_cost_no_coverage() -> None:
    """By simulation: of accuracies near 1, as often with ends as without; the true mean lies within them."""
    generator = np.random.default_rng(0)
    true_mean = 38 / 40
    held = []
    for _ in range(400):
        shares = (generator.beta(38, 2, size=3)).tolist()
        free, cut = mean_over_seeds(shares), mean_over_seeds(shares, within=(0.0, 1.0))
        assert free.low is not None
        assert free.high is not None
        assert cut.low is not None
        assert cut.high is not None
        held.append((free.low <= true_mean <= free.high, cut.low <= true_mean <= cut.high))
        assert 0 <= cut.low <= cut.high <= 1
    assert all(one == other for one, other in held)
