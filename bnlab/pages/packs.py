"""The groups of studies on a page: the claims of one group share an error rate, and stand in one table."""

from collections.abc import Sequence

from bnlab.pages.holm import adjusted_shares
from bnlab.pages.study_results import StudyResult
from bnlab.pages.words import article_statements

ARTICLE, CONTESTED, OWN = "article", "contested", "own"
"""Claims of the article; claims of others that are in dispute; claims that belong to no group."""


def pack_of(result: StudyResult) -> str:
    """Return the group of a study: the one that it names, or ``own``.

    One that says ``article``, as older files of people's own studies do, is one of the article's only if it is about a
    statement of it.

    Args:
        result: What the study left.
    """
    if result.pack not in {"", ARTICLE}:
        return result.pack
    return ARTICLE if any(name in article_statements() for name in result.statements) else OWN


def in_order(results: Sequence[StudyResult]) -> list[StudyResult]:
    """Return studies by group, in each group by their first statement; definitions after claims, other claims last.

    Args:
        results: What the studies left.
    """
    return sorted(results, key=_place)


def _place(result: StudyResult) -> tuple[int, str, int, str, str]:
    pack = pack_of(result)
    rank = {ARTICLE: 0, CONTESTED: 1, OWN: 3}.get(pack, 2)
    first = min((int(name[1:]) for name in result.statements), default=1000)
    return rank, pack, first + (100 if result.is_of_definitions else 0), result.study, result.scale


def adjusted_by_pack(results: Sequence[StudyResult]) -> list[float | None]:
    """Return for each study the error rate of its group at which its verdict would just hold; None: it has no error.

    Args:
        results: What the studies left.
    """
    adjusted: list[float | None] = [None] * len(results)
    for pack in {pack_of(result) for result in results}:
        places = [place for place, result in enumerate(results) if pack_of(result) == pack]
        shares = adjusted_shares([_share(results[place]) for place in places])
        for place, share in zip(places, shares, strict=True):
            adjusted[place] = share
    return adjusted


def _share(result: StudyResult) -> float | None:
    """Return the error rate at which the verdict would just hold; 1 without a verdict; None where there is no error."""
    is_open = result.verdict == "inconclusive" and not result.is_of_definitions
    return 1.0 if is_open else result.holm_p
