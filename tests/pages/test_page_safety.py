"""Whatever users write stands on a page as text; the page asks for nothing and obeys nothing."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from example_studies import all_forms, condition, study, write_studies
from judged_runs import rising, write_run
from seen_page import Element, see

from bnlab.pages.report_files import make_report
from bnlab.pages.study_results import Lang
from bnlab.results.sweep import write_sweep

EVIL = "<script>alert(1)</script> & <b>x</b> \"'>|`*_ $x^2$ \x1b[31m‮ [a](http://b.c) {{ 7*7 }}"


def poisoned(value: Any, key: str = "") -> Any:
    """Return a result with the evil text in every text that a user's own study may hold."""
    if isinstance(value, dict):
        return {k: poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    kept = {"verdict", "study", "scale", "kind", "unit", "bound", "metric", "statement", "made"}
    return EVIL if isinstance(value, str) and key not in kept else value


def test_one_study_of_a_user_is_text(tmp_path: Path) -> None:
    law = poisoned(condition(kind="law", seeds=[], first=[], second=[], differences=[]))
    folder = write_studies(tmp_path / "studies", {"one": poisoned(study(conditions=[law], parts={}))})
    page = see(make_report(str(folder)).html)
    assert not page.all("script")
    assert page.text.count("alert(1)") > 10


@pytest.fixture(scope="module", params=["en", "zh"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    studies = {name: poisoned(result) for name, result in all_forms().items()}
    odd = poisoned(study(EVIL, conditions=[condition(metric=EVIL, unit=EVIL, bound=EVIL, part=EVIL, statement=EVIL)]))
    folder = write_studies(tmp_path_factory.mktemp("runs") / "studies", studies)
    write_studies(folder, {"odd": {**odd, "study": EVIL, "statement": EVIL, "made": EVIL}})
    return make_report(str(folder), lang=request.param)


@pytest.fixture(scope="module")
def page(report: Any) -> Element:
    return see(report.html)


@pytest.mark.slow
def test_no_text_becomes_an_element_or_an_order(report: Any, page: Element) -> None:
    assert not page.all("script")
    assert not page.all("b")
    assert "alert(1)" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f‪-‮⁦-⁩]", report.html + report.markdown + report.csv)
    for element in page.everything():
        assert not [key for key in element.attributes if key.startswith("on")]


@pytest.mark.slow
def test_the_page_asks_for_nothing(page: Element) -> None:
    for element in page.everything():
        for key in ("src", "srcset", "href", "action", "data", "poster"):
            assert element.attributes.get(key, "#").startswith(("#", "data:")), element
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.slow
def test_markdown_has_no_markup_of_a_users(report: Any) -> None:
    outside = re.sub(r"^(```+)sh\n.*?^\1$", "", report.markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<(?!!-- -->)", outside)
    assert not re.search(r"(?<!\\)\]\(", outside)
    rows = [line for line in outside.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert max(widths) <= 9  # no text has opened a further column


@pytest.mark.slow
def test_ids_are_unique_and_every_reference_has_its_element(page: Element) -> None:
    elements = page.everything()
    ids = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in elements:
        named = element.attributes.get("aria-labelledby", "").split()
        named += re.findall(r"url\(#([^)]+)\)", " ".join(element.attributes.values()))
        if element.attributes.get("href", "").startswith("#"):
            named.append(element.attributes["href"][1:])
        assert set(named) <= set(ids), element


@pytest.mark.slow
def test_every_drawing_has_a_text_alternative_and_its_data(page: Element) -> None:
    drawings = page.all("svg", class_="plot")
    assert drawings
    for drawing in drawings:
        assert drawing.attributes["role"] == "img"
        assert all(one.text.strip() for one in (drawing.all("title")[0], drawing.all("desc")[0]))
    for figure in page.all("figure"):
        assert figure.all("details")[0].all("td")
    for other in page.all("svg"):
        assert other.attributes.get("role") == "img" or other.attributes.get("aria-hidden") == "true"


@pytest.mark.slow
def test_headings_go_down_one_step_at_a_time_and_tables_are_named(page: Element) -> None:
    levels = [int(one.tag[1]) for one in page.everything() if re.fullmatch(r"h\d", one.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in page.all("table"):
        assert table.all("caption")[0].text
        assert all(one.attributes.get("scope") in {"col", "row"} for one in table.all("th"))


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_arms_of_a_sweep_may_have_any_name(tmp_path: Path, lang: Lang) -> None:
    folder = tmp_path / "runs" / "a&b<i>"
    planned = []
    for norm in ("batch", "<script>alert(1)</script>$\\frac$"):
        for lr in (0.1, 1.0):
            for seed in range(3):
                planned.append(f"{len(planned)}-s{seed}")
                config = {"norm": {"name": norm}, "optim": {"name": "sgd", "lr": lr}, "seed": seed}
                config |= {"model": {"name": "mlp"}, "data": {"name": "digits"}}
                write_run(folder / planned[-1], config, rising(0.9 + seed / 100, saturation=[0.1] * 5))
    write_sweep(folder, [], planned)
    report = make_report(str(folder), lang=lang)
    assert not see(report.html).all("script")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$\\frac$" in report.html
