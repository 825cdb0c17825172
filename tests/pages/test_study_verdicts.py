"""What a page makes of the verdict of a study: its checks, its reason, its decisive condition, its group."""

import csv
import io
from typing import Any

import pytest
from example_studies import bare, study
from seen_page import see

from bnlab.pages.csv_rows import studies_csv
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.markdown_page import studies_markdown
from bnlab.pages.studies_page import StudiesPage, make_studies_page
from bnlab.pages.study_results import Lang, StudyResult, Texts
from bnlab.pages.study_view import StudyView, view_studies
from bnlab.pages.words import Words

CHECK = bare(
    says={"en": "Check: the noisy network drifts more.", "zh": "检查：加噪声的网络漂移更大。"},
    statement="S12",
    verdict="refuted",
    effect=0.7,
    low=0.6,
    high=0.8,
)
REASON = "The experiment is no test of the claim, since a check is refuted: the noisy network drifts more."


def page_of(*studies: dict[str, Any], lang: Lang = "en") -> StudiesPage:
    return make_studies_page([StudyResult.model_validate(one) for one in studies], [], Words(lang))


def view_of(**given: Any) -> StudyView:
    given = {"conditions": [bare()], "parts": {}, **given}
    return view_studies([StudyResult.model_validate(study(**given))], [], Words("en"))[0]


def without_test(**given: Any) -> dict[str, Any]:
    """Return a study of which a check fails, so that its conditions answer nothing."""
    conditions = [bare(statement="S13"), bare(statement="S12", verdict="refuted")]
    given = {"conditions": conditions, "checks": [CHECK], "statement": "S12, S13", "parts": {}, **given}
    return study("drift", **given) | {"verdict": "inconclusive", "reason": REASON, "holm_p": None}


def test_a_condition_answers_its_own_statement_and_the_study_the_others() -> None:
    conditions = [bare(statement="S12", verdict="refuted"), bare(statement="S16")]
    found = view_of(statement="S12, S16, S27", conditions=conditions)
    assert dict(found.answers()) == {"S12": "refuted", "S16": "supported", "S27": "refuted"}


def test_where_a_check_fails_the_verdict_of_the_study_answers() -> None:
    (found,) = page_of(without_test()).studies
    assert dict(found.answers()) == {"S12": "inconclusive", "S13": "inconclusive"}
    assert [found.statement_of(one) for one in found.rows_below] == ["", "", ""]
    assert [one.number for one in found.rows_below] == ["1", "2", "C1"]


def test_a_check_that_holds_leaves_the_conditions_their_say() -> None:
    found = view_of(statement="S12, S13", conditions=[bare(statement="S13")], checks=[CHECK | {"verdict": "supported"}])
    assert dict(found.answers()) == {"S12": "supported", "S13": "supported"}
    assert found.rows_below == []


def test_what_is_measured_besides_answers_nothing() -> None:
    besides = [bare(statement="S20", verdict="refuted"), bare(statement="S27", verdict="inconclusive")]
    found = view_of(statement="S17, S27", also=besides)
    assert dict(found.answers()) == {"S17": "supported", "S27": "supported"}
    assert "S20" in page_of(study(statement="S17", conditions=[bare()], also=besides, parts={})).open


def test_the_effect_is_read_as_that_of_the_decisive_condition() -> None:
    of_arm = bare(kind="arm", metric="test_accuracy", unit="share of images", bound="within 0.9 and 1", effect=0.5)
    of_arm |= {"verdict": "refuted", "low": 0.4, "high": 0.6}
    look = {"made": "2026-11-29", "n": 5, "verdict": "refuted", "effect": 0.5, "low": 0.4, "high": 0.6}
    given = {"conditions": [bare(), of_arm], "history": [look]}
    found, before = view_of(**given, decisive=1), view_of(**given)
    own = {key: of_arm[key] for key in ("effect", "low", "high", "unit")}
    decided = StudyResult.model_validate(study(**given, parts={}) | own | {"decisive": 1})
    (found,) = view_studies([decided], [], Words("en"))
    assert not found.unit.is_difference  # a share of one arm has no sign, and is in percent
    assert found.history.rows[0][2].text == "50.00% [40.00, 60.00]"
    assert found.strip == found.findings[1].strip
    assert before.strip == before.findings[0].strip
    assert found.strip != before.strip


def test_older_files_have_the_effect_of_the_first_condition() -> None:
    older = {key: value for key, value in study().items() if key not in {"decisive", "reason", "checks", "pack"}}
    read = StudyResult.model_validate(older)
    assert read.decisive_condition == read.conditions[0]
    assert (read.checks, read.reason, read.failed_check) == ((), "", None)
    assert StudyResult.model_validate(study(decisive=7)).decisive_condition is None


def test_checks_and_the_reason_stand_in_markdown_and_csv() -> None:
    page = page_of(without_test())
    markdown = studies_markdown(page)
    assert "#### Checks" in markdown
    assert markdown.index(REASON) < markdown.index("#### Why this verdict")
    rows = list(csv.DictReader(io.StringIO(studies_csv(page))))
    (check,) = (row for row in rows if row["kind"] == "check")
    assert (check["condition"], check["verdict"], float(check["effect"])) == ("C1", "refuted", 0.7)
    (whole,) = (row for row in rows if row["kind"] == "study")
    assert (whole["reason"], whole["pack"], whole["condition"]) == (REASON, "article", "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lang", "reason", "heading"),
    [
        ("en", REASON, "Checks"),
        ("zh", "实验未能检验该论断，因为有一项检查的结论为“否定”：加噪声的网络漂移更大。", "检查"),
    ],
)
def test_checks_and_the_reason_stand_on_the_page(lang: Lang, reason: str, heading: str) -> None:
    page = see(page_of(without_test(), lang=lang).html())
    (article,) = page.all("article")
    texts = [one.text for one in article.all("p")]
    assert texts.index(reason) == 1  # below the verdict
    assert heading in [one.text for one in article.all("h4")]
    assert not [one for one in article.all("span", lang="en") if "check" in one.text]
    assert len(page.all("table", class_="claims")[0].all("tr", class_="condition")) == 3


def own_study(name: str = "mine", **given: Any) -> dict[str, Any]:
    return study(name, statement=None, conditions=[bare()], parts={}, **given)


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_page_of_studies_of_ones_own_does_not_speak_of_the_article(lang: Lang) -> None:
    page = page_of(own_study(), own_study("other", also=[bare(statement="S5")]), lang=lang)
    html, markdown = page.html(), studies_markdown(page)
    for text in (html, markdown):
        assert page.words("lead_other") in text
        assert page.words("lead") not in text
        assert page.words("statements") not in text
        assert page.words("none_yet") not in text
    assert not see(html).all("ul", class_="chips")
    assert page.title == Words(lang)("title_other")


def test_a_page_with_one_study_of_the_article_speaks_of_it() -> None:
    page = page_of(own_study(), study(conditions=[bare()], parts={}))
    assert page.is_about_article
    assert len(page.open) == 25
    assert "The 27 statements" in studies_markdown(page)


def test_claims_of_one_group_share_an_error_rate() -> None:
    article = [study(name, conditions=[bare()], parts={}, holm_p=0.02) for name in ("a", "b")]
    contested = [own_study(name, pack="contested", holm_p=0.02) for name in ("c", "d", "e")]
    page = page_of(*contested, own_study(holm_p=0.04), *article)
    adjusted = {one.result.study: one.adjusted for one in page.studies}
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.04, "c": 0.06, "d": 0.06, "e": 0.06, "mine": 0.04})
    assert [(pack.title, len(pack.studies), len(pack.open)) for pack in page.packs] == [
        ("Claims of the article", 2, 25),
        ("Contested claims", 3, 0),
        ("Other claims", 1, 0),
    ]
    assert "the 3 claims of this table" in page.packs[1].family_text
    headings = [line for line in studies_markdown(page).splitlines() if line.startswith("### ")]
    assert headings[:3] == ["### Claims of the article", "### Contested claims", "### Other claims"]


def test_definitions_take_no_part_in_a_family_whatever_comes_out() -> None:
    law = bare(kind="law", arms=[], metric="variance", unit="deviation", bound="below 1e-05", effect=1e-14)
    exact = study("laws", conditions=[law], parts={}, holm_p=None)
    undecided = study("more", conditions=[law | {"verdict": "inconclusive"}], parts={}, holm_p=None)
    page = page_of(exact, undecided, study(conditions=[bare()], parts={}, holm_p=0.03))
    families = {one.result.study: (one.family, one.adjusted) for one in page.studies}
    assert families == {"laws": ("exact", None), "more": (None, None), "lr-sensitivity": ("holds", 0.03)}
    assert "This table has one claim with an error rate" in page.packs[0].family_text


def test_a_study_of_which_there_is_no_other_analysis_has_a_dash() -> None:
    none = {"agree": 0, "of": 0, "flips": []}
    page = page_of(study(conditions=[bare(stress=none)], parts={}, stress=none))
    line = next(line for line in studies_markdown(page).splitlines() if line.startswith("| ✓"))
    assert line.split("|")[6].strip() == "–"
    assert "of" not in csv.DictReader(io.StringIO(studies_csv(page))).fieldnames  # type: ignore[operator]


@pytest.mark.parametrize(
    ("texts", "lang", "of"),
    [
        (Texts(en="Its own.", zh="Its own."), "zh", "en"),
        (Texts(en="Its own.", zh="Its own."), "en", "en"),
        (Texts(en="更快", zh="更快"), "en", "zh"),
        (Texts(en="Its own.", zh="它自己的"), "zh", "zh"),
        (Texts(en="Its own."), "zh", "en"),
        (Texts(zh="它自己的"), "en", "zh"),
    ],
)
def test_a_text_that_nobody_translated_is_of_its_own_language(texts: Texts, lang: Lang, of: Lang) -> None:
    assert texts.in_lang(lang)[1] == of


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("within -0.015 and 0.015", "在 -0.015 与 0.015 之间"),
        ("within -1.5 and 1.5 points", "在 -1.5 与 1.5 个百分点 之间"),
        ("above 0.5 points", "大于 0.5 个百分点"),
        ("test_accuracy (main) above 1 point", "test_accuracy (main) 大于 1 个百分点"),
        ("test_accuracy within 90% and 95%", "test_accuracy 在 90% 与 95% 之间"),
        ("below 300 steps", "小于 300 步"),
        ("bounds between -0.3 and 0.4 points", "界取在 -0.3 与 0.4 个百分点 之间"),
        ("The interval lies only in part within 0.9 and 1.", "区间只有一部分在 0.9 与 1 之间。"),
        ("The interval does not lie above 0.05, not even in part.", "区间没有任何一部分大于 0.05。"),
    ],
)
def test_what_the_engine_says_of_bounds_is_said_in_chinese(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese


@pytest.mark.slow
def test_what_nobody_translated_is_marked_on_the_chinese_page() -> None:
    says = {"en": "The loss of batch is above 3.", "zh": "The loss of batch is above 3."}
    none = {"agree": 0, "of": 0, "flips": []}
    given = {"claim": "It trains faster.", "claim_zh": "It trains faster.", "stress": none}
    page = see(page_of(study(conditions=[bare(says=says, stress=none)], parts={}, **given), lang="zh").html())
    (article,) = page.all("article")
    assert [one.text for one in article.all("h3")[0].all("span", lang="en")] == ["It trains faster."]
    assert says["en"] in [one.text for one in article.all("h5")[0].all("span", lang="en")]
    assert "0/0" not in page.text


@pytest.mark.parametrize(
    ("lang", "told"), [("en", "paired Student's t and Hall, 98%"), ("zh", "配对 Student t 与 Hall 区间，98%")]
)
def test_the_method_stands_beside_each_interval(lang: Lang, told: str) -> None:
    one = bare(method="paired Student's t and Hall", level=0.98)
    page = page_of(study(conditions=[one, one], also=[one], parts={}), lang=lang)
    shown = see(page.html())
    assert [each.text for each in shown.all("span", **{"class": "made"})] == [told] * 3  # the table, both conditions
    assert told in shown.all("article")[0].text
    assert f"[5.2, 15.3] ({told})".replace("[", "\\[").replace("]", "\\]") in studies_markdown(page)


def test_a_study_whose_rule_was_changed_is_neither_counted_nor_an_answer() -> None:
    changed = study("changed", changed="The criterion was changed after runs had been judged by another one.")
    page = page_of(study(), changed)
    assert page.counts == {"supported": 1}
    assert {one.result.study for answers in page.answered.values() for one, _ in answers} == {"lr-sensitivity"}
    assert page.is_about_article
    assert page_of(changed).is_about_article
    assert page_of(changed).counts == {}
    assert studies_markdown(page).count("**The rule changed after runs were judged**") == 1
