"""What the diagnostics of a run recorded, as tables of layer by step; and which needles are out of range.

Shape letters: K keys (layers, or layers and facets), T measured steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bnlab.diagnostics.cards import Card, known_cards
from bnlab.errors import ConfigError
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import by_name, find_run_folders, flatten
from bnlab.runfolder.sweep import label_of, swept_keys

FloatArray = npt.NDArray[np.float64]

WHOLE = "network"
"""Key of what is measured of the whole network."""


@dataclass(frozen=True)
class Measure:
    """One diagnostic of one run.

    Attributes:
        card: What it says of itself.
        keys: As recorded: ``hidden1``, ``hidden1/q15``, ``network``.
        steps: T.
        values: (K, T); NaN where a key was not measured, or was not a number.
    """

    card: Card
    keys: tuple[str, ...]
    steps: tuple[int, ...]
    values: FloatArray

    @property
    def roles(self) -> tuple[str, ...]:
        """The layers, in order; ``network`` for the whole."""
        return tuple(dict.fromkeys(key.partition("/")[0] for key in self.keys))

    @property
    def facets(self) -> tuple[str, ...]:
        """What is measured of each layer, in order; one empty one where there is nothing to name."""
        return tuple(dict.fromkeys(key.partition("/")[2] for key in self.keys))

    def of(self, role: str, facet: str = "") -> FloatArray:
        """Return the values of one layer over the steps; NaN where there are none.

        Args:
            role: Of the layer.
            facet: Of it.
        """
        key = f"{role}/{facet}" if facet else role
        if key not in self.keys:
            return np.full(len(self.steps), np.nan)
        row: FloatArray = self.values[self.keys.index(key)]
        return row


@dataclass(frozen=True)
class Inside:
    """What was measured inside the network of one run.

    Attributes:
        folder: The run's.
        settings: Its config, by dotted keys.
        figures: Its final figures, by name; what it does not have is None.
        measures: By diagnostic.
    """

    folder: RunFolder
    settings: Mapping[str, Any]
    figures: Mapping[str, Any]
    measures: Mapping[str, Measure]

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.folder.path.name

    @property
    def activation(self) -> str:
        """Name of the nonlinearity."""
        return str(self.settings.get("model.activation", ""))


@dataclass(frozen=True)
class Needle:
    """A value that is out of its range.

    Attributes:
        diagnostic: Which.
        key: Of which layer.
        value: At the last measured step.
        words: What that means.
    """

    diagnostic: str
    key: str
    value: float
    words: str


def read_inside(folder: RunFolder) -> Inside:
    """Read what was measured inside the network of a run.

    Args:
        folder: The run's.

    Raises:
        RunError: Its files cannot be read.
        ConfigError: Nothing was measured.
    """
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for record in folder.read_records():
        if record["kind"] == "diagnostic":
            odd = {key: float(word) for key, word in record.get("nonfinite", {}).items()}
            rows.setdefault(record["name"], {})[record["step"]] = {**record["values"], **odd}
    settings = by_name(flatten(folder.read_config()))
    cards = known_cards([*dict.fromkeys([*settings.get("diagnostics.names", []), *rows])])
    figures = folder.read_finished()
    measures = {name: _measure(cards[name], by_step) for name, by_step in rows.items() if any(by_step.values())}
    if not measures:
        raise ConfigError(f"Nothing was measured inside {folder.path.name}. Train with diagnostics=full.")
    return Inside(folder, settings, {} if figures is None else figures.as_dict(), measures)


def _measure(card: Card, by_step: Mapping[int, Mapping[str, float]]) -> Measure:
    steps = tuple(sorted(by_step))
    keys = tuple(dict.fromkeys(key for step in steps for key in by_step[step]))
    values_KT = np.array([[by_step[step].get(key, math.nan) for step in steps] for key in keys], dtype=float)
    return Measure(card, keys, steps, values_KT.reshape(len(keys), len(steps)))


def find_needles(inside: Inside) -> list[Needle]:
    """Return the values at the last measured step that are out of their range, one per diagnostic: the worst.

    Args:
        inside: Of a run.
    """
    needles = []
    for name, measure in inside.measures.items():
        bounds = measure.card.range_for(inside.activation)
        if bounds is None:
            continue
        worst = _worst(measure, *bounds)
        if worst is not None:
            place, value = worst
            words = measure.card.too_low if value < bounds[0] else measure.card.too_high
            words = words if math.isfinite(value) else "it is not a number: the network is broken"
            needles.append(Needle(name, measure.keys[place], value, words))
    return needles


def _worst(measure: Measure, low: float, high: float) -> tuple[int, float] | None:
    last_K = measure.values[:, -1]
    beyond_K = np.maximum(low - last_K, last_K - high)
    beyond_K[np.isnan(last_K)] = np.inf
    place = int(np.argmax(beyond_K))
    return (place, float(last_K[place])) if beyond_K[place] > 0 else None


def written(value: float | None, unit: str) -> str:
    """Return a value as one would say it: a share in per cent, small and large numbers by their power of ten.

    Example:
        >>> written(0.873, "share of activations"), written(3.2e-6, "ratio"), written(1.5, "directions")
        ('87.3%', '3.2e-06', '1.500')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None or math.isnan(value) else str(value)
    if unit.startswith("share of"):
        return f"{value:.1%}"
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.1e}"


_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float] | FloatArray, width: int = 16) -> str:
    """Return a small curve of letters, from the least to the most of its values; a gap where there is no number.

    Args:
        values: Over time.
        width: Letters at most; of more values, every so many are shown.

    Example:
        >>> sparkline([0, 1, 2, float("nan"), 7])
        '▁▂▃ █'
    """
    shown = np.asarray(values, dtype=float)
    if len(shown) > width:
        shown = shown[np.linspace(0, len(shown) - 1, width).round().astype(int)]
    finite = shown[np.isfinite(shown)]
    if not finite.size:
        return " " * len(shown)
    low, span = finite.min(), np.ptp(finite)
    places = np.zeros_like(shown) if span == 0 else (shown - low) / span * (len(_LEVELS) - 1)
    return "".join(_LEVELS[round(p)] if math.isfinite(v) else " " for v, p in zip(shown, places, strict=True))


def label_runs(insides: Sequence[Inside]) -> list[str]:
    """Return what each of some runs is called beside the others: by the settings that tell them apart.

    Args:
        insides: Of the runs.
    """
    swept = swept_keys([inside.settings for inside in insides])
    labels = [label_of({key: inside.settings.get(key) for key in swept}) for inside in insides]
    is_clear = all(labels) and len(set(labels)) == len(labels)
    return labels if is_clear else [inside.run_id for inside in insides]


def whole_run(folder: Path) -> RunFolder:
    """Return a folder that is one run's.

    Args:
        folder: As found by name or path.

    Raises:
        ConfigError: It is a folder of several runs.
    """
    runs = find_run_folders(folder)
    if [run.path for run in runs] != [folder]:
        raise ConfigError(
            f"{folder.name} holds {len(runs)} runs. Name one of them (bnlab list runs), or compare them: "
            f"bnlab compare {folder.name}"
        )
    return runs[0]
