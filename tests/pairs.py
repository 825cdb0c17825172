"""Few cases in which any two values of different settings meet: nearly all that a full grid finds, at a share of it."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any


def every_pair(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return cases with one value of each setting, so that each two values of two settings stand together in a case.

    Each case is built around a pair that is still missing, and takes for every other setting the value that brings in
    most missing pairs. It is the same list each time.

    Args:
        values: Two settings or more, each with its values.
    """
    names = list(values)
    missing = {
        ((one, i), (other, j))
        for one, other in itertools.combinations(names, 2)
        for i, j in itertools.product(range(len(values[one])), range(len(values[other])))
    }
    order, cases = sorted(missing), []

    def num_met(case: Mapping[str, int], name: str, index: int) -> int:
        pairs = (((name, index), own) for own in case.items())
        return sum(pair in missing or pair[::-1] in missing for pair in pairs)

    while missing:
        case = dict(next(pair for pair in order if pair in missing))
        for name in names:
            if name not in case:
                case[name] = max(range(len(values[name])), key=lambda index, name=name: num_met(case, name, index))
        missing -= set(itertools.permutations(case.items(), 2))
        cases.append({name: values[name][case[name]] for name in names})
    return cases
