"""A condition of a study as a page shows it: its sentence, its bound, and the figures behind its verdict."""

from dataclasses import dataclass

from markupsafe import Markup

from bnlab.pages.amounts import Unit, unit_of
from bnlab.pages.drawn.picture import DataTable, Picture
from bnlab.pages.drawn.seed_dots import draw_seeds, seeds_table
from bnlab.pages.engine_sentences import in_both
from bnlab.pages.interval_strip import draw_strip
from bnlab.pages.study_results import Condition, Texts
from bnlab.pages.words import Words
from bnlab.studies.bounds import in_unit, read_region


@dataclass(frozen=True)
class Finding:
    """One condition, ready to be shown.

    Attributes:
        number: ``1``, ``2``, ... for those that decide, ``C1``, ... for checks, ``a``, ``b``, ... for the others.
        condition: What the study says of it.
        says: The condition as a sentence.
        detail: Where it was measured, in the words of settings; empty where its sentence says enough.
        bound: The bound in the unit of the effect.
        unit: How its effects are written.
        picture: The figure of its seeds; None where there is none.
        table: Its figures by seed.
        strip: The interval as a small drawing.
    """

    number: str
    condition: Condition
    says: Texts
    detail: str
    bound: str
    unit: Unit
    picture: Picture | None
    table: DataTable
    strip: Markup

    @property
    def has_more(self) -> bool:
        """Whether there is more to show than a row of a table holds."""
        return bool(self.picture or self.table.rows or self.condition.sentences or self.condition.reason)


def view_condition(condition: Condition, number: str, name: str, words: Words) -> Finding:
    """Return a condition, ready to be shown.

    Args:
        condition: What the study says of it.
        number: How the page names it.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    unit = unit_of(condition.kind, condition.unit)
    says = in_both(condition.says)
    arms = " / ".join(condition.arms)
    measured = [condition.metric, arms]
    if not says.en and not says.zh:
        text = f"{words.metric(condition.metric)}{words('colon')}{arms}"
        says, measured = Texts(**{words.lang: text}), []
    part = words("of_part", part=condition.part) if condition.part not in {"", "main"} else ""
    detail = " · ".join(text for text in (*measured, *condition.where, part) if text)
    region = None if condition.kind == "law" else read_region(condition.bound)
    bound = in_unit(condition.bound, condition.kind, condition.unit)
    strip = draw_strip(condition.effect if region else None, condition.low, condition.high, region, unit)
    picture = draw_seeds(condition, name, words)
    return Finding(number, condition, says, detail, bound, unit, picture, seeds_table(condition, words), strip)
