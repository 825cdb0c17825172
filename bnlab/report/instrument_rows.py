"""What instruments measured last: arms side by side, means over seeds, in the layer where the arms differ most."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnlab.diagnostics.cards import cards_by_record
from bnlab.report.wording import is_counted_share
from bnlab.results.arms import Arm
from bnlab.results.instruments import last_values
from bnlab.results.versus import Versus, versus
from bnlab.stats.estimate import LEVEL, Estimate, Scale, mean_over_seeds

PLAIN_WORDS = ("cosine", "log", "exponent", "radians", "negative")
"""Parts of units whose values may be of either sign: their mean is the plain one, though all of a sweep are above 0."""


@dataclass(frozen=True)
class InstrumentRow:
    """One instrument in one layer, arm by arm.

    Attributes:
        name: The instrument.
        key: The instrument and the layer as curves name them: ``saturation/hidden1``.
        layer: The layer, with the facet behind a stroke; empty for a value of the whole network without facets.
        unit: The unit of the values, in words.
        scale: ``log``: means are geometric, and arms are compared by their ratio; ``plain``: by their difference.
        means: One per arm, over the seeds that have a value; None for an arm without any.
        against: One per arm: against the first one, seed by seed, a ratio or a difference; None for the first arm, and
            where no seed has both.
    """

    name: str
    key: str
    layer: str
    unit: str
    scale: Scale
    means: tuple[Estimate | None, ...]
    against: tuple[Versus | None, ...]

    @property
    def is_share(self) -> bool:
        """Whether its values are shares of counted things, which are written in percent."""
        return is_counted_share(self.unit)


def scale_of(unit: str, here: Iterable[float], everywhere: Iterable[float]) -> Scale:
    """Return the scale on which values are averaged over seeds and compared: ``log`` for sizes, else ``plain``.

    Sizes have no sign anywhere: quantiles of which one is negative are compared by differences in all layers.

    Args:
        unit: Their unit, in words.
        here: All values in one layer, of all arms.
        everywhere: Those of the same instrument and unit in all layers.
    """
    can_have_a_sign = is_counted_share(unit) or any(word in unit for word in PLAIN_WORDS)
    return "plain" if can_have_a_sign or min(everywhere) < 0 or min(here) <= 0 else "log"


def layer_means(arms: Sequence[Mapping[str, Mapping[int, float]]], unit: str) -> list[dict[str, float]]:
    """Return the mean over seeds of each arm in each layer, on the scale of `instrument_rows`.

    Args:
        arms: Layer -> seed -> value of one instrument, arm by arm.
        unit: The unit of the values, in words.
    """
    values: dict[str, list[float]] = {}
    for of_arm in arms:
        for layer, seeds in of_arm.items():
            values.setdefault(layer, []).extend(seeds.values())
    everywhere = [value for each in values.values() for value in each]
    scales = {layer: scale_of(unit, each, everywhere) for layer, each in values.items()}
    return [
        {layer: mean_over_seeds(list(seeds.values()), scales[layer]).value for layer, seeds in of_arm.items()}
        for of_arm in arms
    ]


def instrument_rows(arms: Sequence[Arm], names: Sequence[str]) -> list[InstrumentRow]:
    """Return a row per instrument that any of some arms has, in the layer where their means differ most.

    The layer is chosen by the values that are then compared. So `Versus.is_apart` asks for an interval in which all
    layers of the instrument, and all arms, share the 5%.

    Args:
        arms: The arms, each of which is taken at its best learning rate.
        names: The instruments.
    """
    values = [last_values(arm, names) for arm in arms]
    keys = list(dict.fromkeys(key for of_arm in values for key in of_arm))
    found = list(dict.fromkeys(key.partition("/")[0] for key in keys))
    cards = cards_by_record(found, names)
    rows = []
    for name in found:
        own = [key for key in keys if key.partition("/")[0] == name]
        facets = list(dict.fromkeys(key.split("/", 2)[2] if key.count("/") > 1 else "" for key in own))
        candidates = [key for key in own if all(key in of_arm for of_arm in values if _has(of_arm, name))] or own
        unit_of = _unit_of(cards.get(name), facets)
        level = 1 - (1 - LEVEL) / (max(1, len(arms) - 1) * len(candidates))
        by_key = {key: [of_arm.get(key, {}) for of_arm in values] for key in candidates}
        everywhere: dict[str, list[float]] = {}
        for key, by_arm in by_key.items():
            everywhere.setdefault(unit_of(key), []).extend(value for of_arm in by_arm for value in of_arm.values())
        made = [_row(key, unit_of(key), by_arm, everywhere[unit_of(key)], level) for key, by_arm in by_key.items()]
        of_sizes = {row.unit for row in made if row.scale == "log"}
        rows.append(max(made, key=lambda row: _apart(row, by_ratio=row.unit in of_sizes)))
    return rows


def _has(of_arm: Mapping[str, object], name: str) -> bool:
    return any(key.partition("/")[0] == name for key in of_arm)


def _unit_of(card: object, facets: Sequence[str]) -> Callable[[str], str]:
    def unit(key: str) -> str:
        facet = key.split("/", 2)[2] if key.count("/") > 1 else ""
        return "" if card is None else str(card.unit_of(facet, facets))  # type: ignore[attr-defined]

    return unit


def _row(
    key: str, unit: str, by_arm: Sequence[Mapping[int, float]], everywhere: Sequence[float], level: float
) -> InstrumentRow:
    name, _, layer = key.partition("/")
    layer = layer.removeprefix("network").removeprefix("/")
    is_share = is_counted_share(unit)
    scale = scale_of(unit, [value for of_arm in by_arm for value in of_arm.values()], everywhere)
    is_log = scale == "log"
    within = (0.0, 1.0) if is_share else (-math.inf, math.inf)
    means = [
        mean_over_seeds(list(of_arm.values()), scale, within=(0.0, math.inf) if is_log else within) if of_arm else None
        for of_arm in by_arm
    ]
    against = [_against(of_arm, by_arm[0], is_log, is_share, level) for of_arm in by_arm]
    return InstrumentRow(name, key, layer, unit, scale, tuple(means), (None, *against[1:]))


def _against(
    own: Mapping[int, float], first: Mapping[int, float], is_log: bool, is_share: bool, level: float
) -> Versus | None:
    seeds = [seed for seed in own if seed in first]
    if not seeds:
        return None
    if not is_log:
        within = (-1.0, 1.0) if is_share else (-math.inf, math.inf)
        return versus([own[seed] - first[seed] for seed in seeds], within, level)
    found = versus([math.log(own[seed]) - math.log(first[seed]) for seed in seeds], (-math.inf, math.inf), level)
    value, low, high = (_power(end) for end in (found.difference.value, found.difference.low, found.difference.high))
    return Versus(Estimate(value if value is not None else math.inf, low, high, len(seeds)), found.is_apart)


def _power(exponent: float | None) -> float | None:
    try:
        return None if exponent is None else math.exp(exponent)
    except OverflowError:  # the end says nothing: seeds far apart
        return math.inf


def _apart(row: InstrumentRow, *, by_ratio: bool) -> float:
    """Return how far the means of the arms lie apart; by ratio, a size of 0 is as far from any other as can be."""
    known = [mean.value for mean in row.means if mean is not None]
    if len(set(known)) < 2:
        return 0.0
    if not by_ratio:
        return max(known) - min(known)
    return math.log(max(known) / min(known)) if min(known) > 0 else math.inf
