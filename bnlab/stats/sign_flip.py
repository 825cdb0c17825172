"""An exact test of paired differences that asks nothing of their distribution but symmetry."""

from collections.abc import Sequence

import numpy as np

from bnlab.errors import StudyError

MOST_EXACT = 20
"""Differences up to which all 2^n signs are tried: 1,048,576, a tenth of a second."""

_TIE = 1e-9
"""Share of the sum of all |d| by which two sums may differ and count as equal. 0.1 + 0.2 and 0.3 are two floats, so
that without this ties are missed and p comes out too small, by half where two differences are equal."""


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of "the differences are symmetric around 0", by trying all signs.

        p = share of the 2^n ways to give signs to |d_i| whose |sum| is at least the one that came

    Its least value is 2 / 2^n (`least_p`): 0.0625 with 5 seeds, which can never reach 0.05, and 0.03125 with 6. Zeros
    stay in: they count as a tie either way.

    Args:
        differences: One per seed; finite.

    Returns:
        p in (0, 1]; None above 20 differences, where an exact p takes too long and a mean is as good as normal.

    Raises:
        StudyError: There are none, or some are not finite.

    Source:
        Fisher 1935, The Design of Experiments. Zeros kept: Pratt 1959. Written here since scipy 1.17's
        ``permutation_test`` misses ties that differ by a rounding.

    Example:
        >>> sign_flip_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), sign_flip_p([0.1, 0.2, -0.3])
        (0.03125, 1.0)
    """
    d_S = np.abs(np.asarray(differences, dtype=np.float64))
    if d_S.size == 0 or not np.isfinite(d_S).all():
        raise StudyError(f"a sign-flip test needs 1 or more finite differences, got {list(differences)}")
    if d_S.size > MOST_EXACT:
        return None
    total = float(d_S.max())
    if total == 0:
        return 1.0
    d_S /= total  # sums of 1e308 are infinite
    sums = np.zeros(1)
    for d in d_S:
        sums = np.concatenate([sums - d, sums + d])
    came = abs(float(np.sum(np.asarray(differences, dtype=np.float64) / total)))
    return float((np.abs(sums) >= came - _TIE * float(d_S.sum())).mean())


def least_p(num_differences: int) -> float:
    """Return the least p that the test can give: that of the two ways in which all signs are equal, of 2^n.

    Args:
        num_differences: How many differences there are, at least 1.

    Example:
        >>> least_p(5), least_p(6)
        (0.0625, 0.03125)
    """
    return 2.0 ** (1 - num_differences)
