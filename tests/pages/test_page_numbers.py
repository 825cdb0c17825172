"""The numbers of a page are those of the studies' JSON and of CSV, to the last digit."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from example_studies import all_forms, condition, study, write_studies
from judged_runs import Place, Written, rising, write_judged, write_run
from seen_page import Element, see

from bnlab.pages import studies_page
from bnlab.pages.report_files import Report, make_report
from bnlab.pages.study_results import Lang
from bnlab.pages.sweep_page import make_sweep_page
from bnlab.pages.words import Words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make_report(str(write_studies(tmp_path_factory.mktemp("runs") / "studies")))


@pytest.fixture(scope="module")
def page(report: Report) -> Element:
    return see(report.html)


def article(page: Element, name: str) -> Element:
    (found,) = (one for one in page.all("article") if re.search(rf"-{name}$", one.attributes["id"]))
    return found


def known(*values: Any) -> list[float]:
    return [float(value) for value in values if value is not None]


def test_the_claims_table_has_the_numbers_of_the_json(page: Element) -> None:
    rows = [row for table in page.all("table", class_="claims") for row in table.all("tr", class_="study")]
    assert len(rows) == 5
    for name, result in all_forms().items():
        (row,) = (row for row in rows if row.all("span", class_="quiet")[-1].text == name)
        expected = known(*(result[key] for key in ("effect", "low", "high", "n", "seconds")))
        assert row.numbers == expected
        assert result["verdict"] in row.text


def test_every_seed_of_every_condition_is_on_the_page(page: Element) -> None:
    for name, result in all_forms().items():
        numbers = article(page, name).numbers
        for one in (*result["conditions"], *result["also"]):
            bounds = [figure["seen"] if isinstance(figure, dict) else figure for figure in one["first"]]
            lost = one["kind"] == "pair" and None in one["second"]
            for value in known(*bounds, *one["second"], *([] if lost else one["differences"])):
                assert value in numbers, (name, value)


def test_a_pair_with_a_run_of_which_nothing_is_known_has_no_figure(page: Element, report: Report) -> None:
    (table,) = article(page, "lost").all("table", class_="data")
    assert [row.inside[-1].text for row in table.all("tr")[1:]][-2:] == ["not known", "not known"]
    rows = [row for row in csv.DictReader(io.StringIO(report.csv)) if row["study"] == "lost" and row["kind"] == "seed"]
    assert [row["difference"] for row in rows][-2:] == ["", ""]


def test_csv_has_the_numbers_of_the_json(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(report.csv)))
    for name, result in all_forms().items():
        own = [row for row in rows if row["study"] == name]
        (whole,) = (row for row in own if row["kind"] == "study")
        for key in ("effect", "low", "high", "n", "seconds", "holm_p"):
            assert (float(whole[key]) if whole[key] else None) == result[key]
        of_first = [row for row in own if row["kind"] == "seed" and row["condition"] == "1"]
        first = result["conditions"][0]
        assert next(row for row in own if row["kind"] == "condition")["method"] == first["method"]
        assert [int(row["seed"]) for row in of_first] == first["seeds"]
        seen = [figure["seen"] if isinstance(figure, dict) else figure for figure in first["first"]]
        if seen:
            assert [float(row["first"]) for row in of_first] == seen


def test_the_page_and_csv_agree_on_which_verdicts_hold_for_all_claims(page: Element, report: Report) -> None:
    rows = {row["study"]: row for row in csv.DictReader(io.StringIO(report.csv)) if row["kind"] == "study"}
    # 3 claims of the article with an error: .0003 and .03, and one without a verdict; 3 * .0003 <= .05 < 2 * .03
    assert {name: row["family"] for name, row in rows.items() if row["family"]} == {
        "lr-sensitivity": "holds",
        "train-eval": "does_not_hold",
        "definitions": "exact",
    }
    assert float(rows["train-eval"]["holm_adjusted"]) == pytest.approx(0.06)
    assert (
        "If the 3 claims of this table share one error rate of 5% (Holm's method), 1 of 2 verdicts hold." in page.text
    )
    assert "These rest on their own error rate alone: train-eval." in page.text


def test_every_statement_is_answered_or_said_to_have_no_verdict(page: Element) -> None:
    chips = {one.all("span", class_="id")[0].text: one for one in page.all("ul", class_="chips")[0].all("li")}
    assert list(chips) == [f"S{number}" for number in range(1, 28)]
    assert "no verdict yet" in chips["S25"].text
    assert "S2: supported, definitions" in chips["S2"].text  # by a condition of its own
    assert "no verdict yet" in chips["S13"].text  # measured besides, which decides nothing
    rows = page.all("table", class_="claims")[0].all("tr", class_="open")
    unanswered = {name for name, one in chips.items() if "no verdict yet" in one.text}
    assert {row.all("td")[1].text for row in rows} == unanswered > {"S13", "S25"}


def test_markdown_tells_the_same_verdicts(report: Report) -> None:
    for result in all_forms().values():
        line = next(line for line in report.markdown.splitlines() if f"({result['study']})" in line.replace("\\", ""))
        assert f" {result['verdict']} |" in line
    assert report.markdown.count("no verdict yet") == 2 * report.html.count('<tr class="open">')


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_null_results_have_all_parts_that_others_have(tmp_path: Path, lang: Lang) -> None:
    page = see(make_report(str(write_studies(tmp_path / "studies")), lang=lang).html)
    headings = [{one.text for one in article(page, name).all("h4")} for name in ("lr-sensitivity", "regularization")]
    also = {"Also measured", "另外测量"}
    assert headings[0] - also == headings[1]


def saturating(place: Place) -> Written | None:
    if place.norm == "none" and place.lr == 10.0:
        return rising(0.1, status="diverged")
    end = {"batch": 0.95, "none": 0.9}[place.norm] + 0.001 * place.seed
    return rising(end, saturation=[0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_page_of_a_sweep_has_its_numbers(tmp_path: Path) -> None:
    folder = write_judged(tmp_path / "runs" / "mine", saturating, lrs=(0.1, 1.0, 10.0), seeds=range(5))
    report = make_report(str(folder))
    page = see(report.html)
    cells = [row for row in csv.DictReader(io.StringIO(report.csv)) if row["kind"] == "cell"]
    table = page.all("table", class_="data")
    of_cells = next(one for one in table if len(one.all("tr")) == 7)
    for row, line in zip(cells, of_cells.all("tr")[1:], strict=True):
        expected = known(*(row[key] for key in ("lr", "n", "test_accuracy", "validation_accuracy", "validation_loss")))
        assert line.numbers == expected
    (verdict,) = (row for row in csv.DictReader(io.StringIO(report.csv)) if row["kind"] == "verdict")
    assert page.all("p", class_="verdict")[0].numbers == known(
        *(verdict[key] for key in ("effect", "low", "high", "n"))
    )
    assert verdict["verdict"] in page.all("p", class_="verdict")[0].text
    assert "5 diverged" in page.text
    assert {one.text for one in page.all("figcaption")} >= {
        "Validation accuracy at the end against the learning rate",
        "Validation accuracy over the steps of training",
        "saturation by layer and step",
    }


def test_of_a_sweep_in_steps_the_page_tells_no_epochs(tmp_path: Path) -> None:
    def facts(steps: int | None) -> list[str]:
        config = {"norm": {"name": "batch"}, "optim": {"name": "sgd", "lr": 0.1}, "seed": 0}
        write_run(tmp_path / f"{steps}" / "a", {**config, "train": {"steps": steps, "epochs": 20}}, rising(0.9))
        page = make_sweep_page(tmp_path / f"{steps}", Words("en"))
        return [row[0].text for row in page.facts.rows]

    assert "train.epochs" not in facts(60)
    assert "train.epochs" in facts(None)


def test_a_sweep_of_one_arm_says_why_there_is_no_verdict(tmp_path: Path) -> None:
    folder = write_judged(tmp_path / "mine", saturating, norms=("batch",), lrs=(0.1,), seeds=range(3))
    assert "a verdict compares two arms, the sweep has one: batch" in make_report(str(folder)).html


@pytest.mark.parametrize(
    ("lang", "best", "start"),
    [
        ("en", "Each arm at its best learning rate", "Networks at their start (not trained: learning rate 1e-09)"),
        ("zh", "各组别取其最佳学习率", "未训练的初始网络（学习率 1e-09）"),
    ],
)
def test_figures_of_networks_at_their_start_say_so(tmp_path: Path, lang: Lang, best: str, start: str) -> None:
    def notes(lr: float) -> list[str]:
        folder = write_judged(tmp_path / f"{lr}", saturating, lrs=(lr,), seeds=range(2))
        return [each.note for each in make_sweep_page(folder, Words(lang)).pictures]

    assert all(note.count(best) == 1 and start not in note for note in notes(0.1))
    assert all(note.count(start) == 1 and best not in note for note in notes(1e-9))


def test_a_study_is_shown_with_the_curves_of_its_sweep(tmp_path: Path) -> None:
    write_judged(tmp_path / "study-1a2b3c4d", saturating, lrs=(0.1, 1.0, 10.0), seeds=range(3))
    page = see(make_report(str(write_studies(tmp_path / "studies", {"one": study()}))).html)
    assert "saturation by layer and step" in {one.text for one in page.all("figcaption")}
    assert [one.text.strip() for one in page.all("ul", class_="legend")[0].all("li")] == ["batch", "none"]


def test_a_page_of_twenty_studies_is_small(tmp_path: Path) -> None:
    write_judged(tmp_path / "study-1a2b3c4d", saturating, lrs=(0.1, 1.0, 10.0), seeds=range(2))
    conditions = [condition(), condition(metric="steps_to:0.9")]
    full = study(conditions=conditions, also=[condition()])
    report = make_report(str(write_studies(tmp_path / "studies", {"one": full})))
    empty = make_report(str(write_studies(tmp_path / "none", {"one": study(conditions=[], also=[], parts={})})))
    each = len(report.html.encode()) - len(empty.html.encode())
    assert len(empty.html.encode()) + 20 * each < 1_500_000


def test_a_page_that_grows_too_large_leaves_out_figures_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_judged(tmp_path / "study-1a2b3c4d", saturating, lrs=(0.1, 1.0), seeds=range(2))
    folder = write_studies(tmp_path / "studies", {"one": study(), "two": study("two")})
    whole = make_report(str(folder)).html
    monkeypatch.setattr(studies_page, "LARGEST", len(whole.encode()) - 20_000)
    less = make_report(str(folder)).html
    assert len(less.encode()) <= studies_page.LARGEST
    num_figures = [len(see(html).all("figure")) for html in (whole, less)]
    assert f"{num_figures[0] - num_figures[1]} figures are left out" in less
    assert num_figures[1] > 2
    assert "left out to keep" not in whole


def test_learning_rate_curves_are_those_of_the_tuning(tmp_path: Path) -> None:
    write_judged(tmp_path / "study-1a2b3c4d", saturating, lrs=(1.0,), seeds=range(2))
    write_judged(tmp_path / "study-tuning", saturating, lrs=(0.1, 1.0, 10.0), seeds=(1000, 1001))
    parts = {"main": {"sweep": "study-1a2b3c4d", "words": [], "command": "", "tuning": "study-tuning"}}
    page = see(make_report(str(write_studies(tmp_path / "studies", {"one": study(parts=parts)}))).html)
    (figure,) = (one for one in page.all("figure") if "accuracy at the end against" in one.all("figcaption")[0].text)
    assert [row.all("th")[0].text for row in figure.all("tr")[1:]] == ["0.1", "1", "10"]


def test_a_condition_that_decided_against_the_claim_stands_in_the_claims_table(tmp_path: Path) -> None:
    lost = condition(verdict="refuted", metric="steps_to:0.9", effect=1.1, low=0.9, high=1.3)
    result = study(conditions=[condition(), lost]) | {"verdict": "refuted"}
    page = see(make_report(str(write_studies(tmp_path / "studies", {"one": result}))).html)
    rows = page.all("table", class_="claims")[0].all("tr", class_="condition")
    assert ["refuted" in row.text for row in rows] == [False, True]
