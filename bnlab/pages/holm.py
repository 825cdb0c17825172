"""Which verdicts of a table hold when all of its claims share one error rate."""

from collections.abc import Sequence

SHARED = 0.05
"""The chance of one or more wrong verdicts in the whole table that is accepted."""


def adjusted_shares(shares: Sequence[float | None]) -> list[float | None]:
    """Return for each claim the error rate of the whole table at which its verdict would just hold.

    With the m shares in rising order, p(1) <= ... <= p(m):

        adjusted p(k) = min(1, max over j <= k of (m - j + 1) * p(j))

    Args:
        shares: For each claim the error rate at which its verdict alone would just hold, in [0, 1]; 1 for a claim
            without a verdict, which was asked all the same; None for one without any error, as a law that was
            computed, which takes no part.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure.

    Example:
        >>> adjusted_shares([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    asked = sorted((share, place) for place, share in enumerate(shares) if share is not None)
    adjusted: list[float | None] = [None] * len(shares)
    largest = 0.0
    for rank, (share, place) in enumerate(asked):
        largest = max(largest, min(1.0, (len(asked) - rank) * share))
        adjusted[place] = largest
    return adjusted
