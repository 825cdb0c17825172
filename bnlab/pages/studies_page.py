"""The page of studies: the claims table over the article's statements, then each study."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnlab.pages.html_page import render
from bnlab.pages.packs import ARTICLE, CONTESTED, OWN
from bnlab.pages.study_results import StudyResult, Word
from bnlab.pages.study_view import StudyView, view_studies
from bnlab.pages.words import Words, article_statements

LARGEST = 1_400_000
"""Bytes of a page, at most: it should open at once, also where it is sent by mail. 1.5 MB are promised."""


@dataclass(frozen=True)
class Pack:
    """One group of studies, whose claims stand in one table and share an error rate.

    Attributes:
        title: Its heading; empty where a page has no other group.
        studies: In the order of the article's statements.
        open: The statements that no study answers.
        family_text: Which verdicts hold when all claims of the table share one error rate, in words.
    """

    title: str
    studies: tuple[StudyView, ...]
    open: tuple[str, ...]
    family_text: str


@dataclass(frozen=True)
class StudiesPage:
    """All studies of a page, and what stands for all of them.

    Attributes:
        studies: In the order of the article's statements.
        words: The fixed words of the page's language.
    """

    studies: tuple[StudyView, ...]
    words: Words

    @property
    def title(self) -> str:
        """The heading."""
        if len(self.studies) == 1:
            return self.words("title_one", name=self.studies[0].name)
        return self.words("title") if self.is_about_article else self.words("title_other")

    @property
    def lead(self) -> str:
        """What stands below the heading."""
        return self.words("lead") if self.is_about_article else self.words("lead_other")

    @property
    def is_about_article(self) -> bool:
        """Whether a study answers any statement of the article."""
        return any(name in article_statements() for study in self.studies for name, _ in study.answers())

    @property
    def answered(self) -> dict[str, list[tuple[StudyView, Word]]]:
        """Each statement of the article, with the studies that answer it: those whose rule was fixed beforehand."""
        found: dict[str, list[tuple[StudyView, Word]]] = {name: [] for name in article_statements()}
        for study in (study for study in self.studies if not study.result.changed):
            for name, verdict in study.answers():
                found.setdefault(name, []).append((study, verdict))
        return found

    @property
    def open(self) -> list[str]:
        """The statements that no study answers; none on a page that is not about the article."""
        return [name for name, answers in self.answered.items() if not answers] if self.is_about_article else []

    @property
    def counts(self) -> Counter[str]:
        """How many studies have each verdict, by a rule that was fixed beforehand."""
        return Counter(study.result.verdict for study in self.studies if not study.result.changed)

    @property
    def made(self) -> str:
        """When the latest study was made."""
        return max((study.result.made for study in self.studies), default="")

    @property
    def packs(self) -> list[Pack]:
        """The studies by group; statements without a study stand in the first one, which is the article's."""
        names = list(dict.fromkeys(study.pack for study in self.studies))
        found: list[Pack] = []
        for name in names:
            own = tuple(study for study in self.studies if study.pack == name)
            open_ones = () if found else tuple(self.open)
            title = _title(name, self.words) if len(names) > 1 or name not in {ARTICLE, OWN} else ""
            found.append(Pack(title, own, open_ones, _family_text(own, self.words)))
        return found

    def html(self) -> str:
        """Return the page as HTML; of many studies without the last figures of some, so that the file stays small."""
        html = self._rendered(self.studies, 0)
        excess = len(html.encode()) - LARGEST
        if excess <= 0:
            return html
        studies, num_left_out = _without_some_pictures(self.studies, excess)
        return self._rendered(studies, num_left_out)

    def _rendered(self, studies: Sequence[StudyView], num_left_out: int) -> str:
        left_out = self.words("left_out", number=num_left_out) if num_left_out else ""
        return render(
            "studies",
            self.words,
            title=self.title,
            studies=studies,
            left_out=left_out,
            answered=self.answered,
            packs=self.packs,
            lead=self.lead,
            is_about_article=self.is_about_article,
            open=self.open,
            counts=self.counts,
            articles=article_statements(),
            made=self.made,
        )


def _title(pack: str, words: Words) -> str:
    key = f"pack_{pack}"
    return words(key) if pack in {ARTICLE, CONTESTED, OWN} else words("pack_named", name=pack)


def _family_text(studies: Sequence[StudyView], words: Words) -> str:
    families = Counter(study.family for study in studies)
    decided = families["holds"] + families["does_not_hold"]
    asked = sum(study.adjusted is not None for study in studies)
    texts = [words("family_lead", asked=asked, kept=families["holds"], decided=decided)] if asked > 1 else []
    texts += [words("family_one")] if asked == 1 else []
    if families["exact"]:
        texts.append(words("family_exact", number=families["exact"]))
    lost = [study.name for study in studies if study.family == "does_not_hold"]
    if lost:
        texts.append(words("family_lost", names=", ".join(lost)))
    return (" " if words.lang == "en" else "").join(texts)


def _without_some_pictures(studies: Sequence[StudyView], excess: int) -> tuple[list[StudyView], int]:
    """Return studies with so many letters less; always the last figure of the sweep that has most of them is left out.

    Args:
        studies: The studies as the page shows them, pictures included.
        excess: How many letters are too many.
    """
    parts = [list(study.parts) for study in studies]
    number = 0
    while excess > 0:
        places = [(len(part.pictures), i, j) for i, of in enumerate(parts) for j, part in enumerate(of)]
        most, i, j = max(places, default=(0, 0, 0))
        if not most:
            break
        excess -= parts[i][j].pictures[-1].size
        parts[i][j] = replace(parts[i][j], pictures=parts[i][j].pictures[:-1])
        number += 1
    return [replace(study, parts=tuple(own)) for study, own in zip(studies, parts, strict=True)], number


def make_studies_page(results: Sequence[StudyResult], roots: Sequence[Path], words: Words) -> StudiesPage:
    """Return the page of studies.

    Args:
        results: What the studies left.
        roots: Folders of runs in which their sweeps are looked for.
        words: The fixed words of the page's language.
    """
    return StudiesPage(tuple(view_studies(results, roots, words)), words)
