"""The figures of a sweep: learning-rate curves, curves with bands, diagnostics layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnlab.diagnostics.cards import cards_by_record
from bnlab.errors import BnlabError
from bnlab.pages.drawn.arm_curves import draw_curves
from bnlab.pages.drawn.layer_lines import draw_layer_lines
from bnlab.pages.drawn.layer_maps import draw_layers, recorded_by_layer
from bnlab.pages.drawn.picture import MOST_ARMS, Picture
from bnlab.pages.drawn.quantile_fans import draw_fans, recorded_as_quantiles
from bnlab.pages.drawn.rate_curves import draw_rates
from bnlab.pages.study_results import Condition, StudyResult
from bnlab.pages.words import Words
from bnlab.report.wording import is_without_training
from bnlab.results.arms import Arm
from bnlab.results.curves import read_best_curves
from bnlab.results.instruments import last_values
from bnlab.results.race import has_one_seed
from bnlab.results.sweep import read_sweep

FIRST = ("saturation", "gradient_norm", "dead_fraction")
"""Diagnostics that are drawn before others."""

MOST_MAPS, MOST_FANS = 2, 1
"""Diagnostics of a sweep that have heat maps, and fans, at most."""

MOST_MEASURED = 8
"""Instruments whose last values are drawn, at most."""


@dataclass(frozen=True)
class SweepPictures:
    """A sweep and its figures.

    Attributes:
        name: The part of the study, or the sweep's name.
        pictures: Its figures; none where its folder is not there or holds nothing to draw.
    """

    name: str
    pictures: tuple[Picture, ...]

    @classmethod
    def of_study(
        cls, result: StudyResult, roots: Sequence[Path], name: str, words: Words
    ) -> "tuple[SweepPictures, ...]":
        """Return the figures of all sweeps of a study.

        Args:
            result: What the study left.
            roots: Folders of runs in which the sweeps are looked for.
            name: A name that no other study of the page has.
            words: The fixed words of the page's language.
        """
        found = []
        for number, (part, of_part) in enumerate(result.parts.items()):
            conditions = [
                each for each in (*result.conditions, *result.checks, *result.also) if each.part in {"", part}
            ]
            folder, tuning = _folder_of(of_part.sweep, roots), _folder_of(of_part.tuning or "", roots)
            pictures: tuple[Picture, ...] = ()
            if folder is not None:
                pictures = draw_sweep(_arms_of(folder, conditions), f"{name}p{number}", words, _diagnostics(conditions))
            if tuning is not None:  # it has all learning rates, and the sweep itself the winners alone
                tuned = draw_sweep(_arms_of(tuning, conditions), f"{name}t{number}", words, only_rates=True)
                pictures = (*tuned, *pictures)
            found.append(cls(part, pictures))
        return tuple(found)


def draw_sweep(
    arms: Sequence[Arm],
    name: str,
    words: Words,
    first: Sequence[str] = (),
    *,
    only_rates: bool = False,
    with_loss: bool = False,
    measured: Sequence[str] = (),
) -> tuple[Picture, ...]:
    """Return the figures of some arms of a sweep.

    Args:
        arms: The arms of the sweep, with their curves.
        name: A name that no other sweep of the page has.
        words: The fixed words of the page's language.
        first: Diagnostics that are drawn before others.
        only_rates: Whether to draw the curves over learning rates alone.
        with_loss: Whether to draw the loss over the steps too, beside the accuracy.
        measured: Instruments whose last values are drawn over the layers.
    """
    shown = [arm for arm in arms if arm.compared][:MOST_ARMS]
    curves = [] if only_rates else [(arm.label, read_best_curves(arm, every_diagnostic=True)) for arm in shown]
    is_of_one_seed = has_one_seed(shown)
    pictures = [
        draw_rates(shown, "accuracy", f"{name}r", words),
        draw_rates(shown, "loss", f"{name}l", words),
        draw_curves(curves, "accuracy", f"{name}c", words, is_of_one_seed),
        draw_curves(curves, "loss", f"{name}d", words, is_of_one_seed) if with_loss else None,
        *_measured(shown, measured, f"{name}i", words),
    ]
    for number, diagnostic in enumerate(_in_order(recorded_by_layer(curves), first)[:MOST_MAPS]):
        pictures.append(draw_layers(curves, diagnostic, f"{name}m{number}", words))
    for number, diagnostic in enumerate(_in_order(recorded_as_quantiles(curves), first)[:MOST_FANS]):
        pictures.append(draw_fans(curves, diagnostic, f"{name}q{number}", words))
    return tuple(_at_start(picture, shown, words) for picture in pictures if picture is not None)


def _measured(arms: Sequence[Arm], names: Sequence[str], name: str, words: Words) -> list[Picture | None]:
    """Return a figure per instrument that has a value in two layers or more: the last values, arm by arm."""
    if not names:
        return []
    values = [last_values(arm, names) for arm in arms]
    found = list(dict.fromkeys(key.partition("/")[0] for of_arm in values for key in of_arm))
    cards = cards_by_record(found, names)
    pictures: list[Picture | None] = []
    for number, instrument in enumerate(found[:MOST_MEASURED]):
        own = [
            {key.partition("/")[2]: seeds for key, seeds in of_arm.items() if key.partition("/")[0] == instrument}
            for of_arm in values
        ]
        if any("/" in layer for of_arm in own for layer in of_arm):  # several values a layer: the table has one
            continue
        card = cards.get(instrument)
        unit = "" if card is None else card.unit_of("", [""])
        labeled = [(arm.label, of_arm) for arm, of_arm in zip(arms, own, strict=True)]
        pictures.append(draw_layer_lines(labeled, instrument, unit, f"{name}{number}", words))
    return pictures


def _at_start(picture: Picture, arms: Sequence[Arm], words: Words) -> Picture:
    """Return a figure whose note says of networks that no learning rate moves that they are not trained."""
    lrs = {cell.lr for arm in arms for cell in arm.compared}
    if not lrs or not is_without_training(max(lrs)):
        return picture
    start = words("at_start", lr=words("comma").join(f"{lr:g}" for lr in sorted(lrs)))
    return replace(picture, note=picture.note.replace(words("at_best"), start))


def _in_order(names: Sequence[str], first: Sequence[str]) -> list[str]:
    order = [*first, *FIRST]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _diagnostics(conditions: Sequence[Condition]) -> list[str]:
    return [condition.metric.partition("/")[0] for condition in conditions if "/" in condition.metric]


def _folder_of(name: str, roots: Sequence[Path]) -> Path | None:
    """Return the folder of a sweep; None where it is in none of the folders of runs."""
    if not name or Path(name).name != name:
        return None
    return next((root / name for root in roots if (root / name / "sweep.json").is_file()), None)


def _arms_of(folder: Path, conditions: Sequence[Condition]) -> list[Arm]:
    """Return the arms of a sweep that the conditions are about; all of them where none can be told from the others."""
    try:
        arms = read_sweep(folder).read_arms().arms
    except BnlabError:
        return []
    named = [arm for arm in arms if any(_is_meant(arm, condition) for condition in conditions)]
    return named or list(arms)


def _is_meant(arm: Arm, condition: Condition) -> bool:
    own = {f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in arm.settings.items()}
    words = own | {arm.label, *map(str, arm.settings.values())}
    in_place = all(word in own for word in condition.where if word.partition("=")[0] in arm.settings)
    return in_place and any(set(name.split()) <= words or name == arm.label for name in condition.arms)
