import itertools
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from example_studies import condition, of_points, study, write_studies
from folded import folded

from bnlab.errors import StudyError
from bnlab.pages.amounts import number, unit_of
from bnlab.pages.condition_view import view_condition
from bnlab.pages.drawn.seed_dots import seed_figures
from bnlab.pages.holm import adjusted_shares
from bnlab.pages.report_files import make_report
from bnlab.pages.study_results import Condition, read_study
from bnlab.pages.study_view import view_studies
from bnlab.pages.words import Words
from bnlab.studies import study_file
from bnlab.studies.bounds import Region, in_unit, read_region
from bnlab.studies.study_history import FOLDER


@folded("draw", range(12))
def test_holm_is_the_closure_of_bonferronis_test(draw: int) -> None:
    random = Random(draw)
    shares = [random.choice([random.random(), random.random() / 50, 0.01, 0.0, 1.0]) for _ in range(1 + draw % 6)]

    def by_closure(place: int) -> float:
        """A claim holds if every set of claims that it is in is rejected, each by the smallest of its shares."""
        others = [each for each in range(len(shares)) if each != place]
        sets = [(place, *more) for size in range(len(shares)) for more in itertools.combinations(others, size)]
        return max(min(1.0, len(one) * min(shares[each] for each in one)) for one in sets)

    found = adjusted_shares(shares)
    for place, adjusted in enumerate(found):
        assert adjusted == pytest.approx(by_closure(place))


def test_a_claim_without_error_takes_no_part_in_the_family() -> None:
    assert adjusted_shares([0.01, None, 0.02]) == [0.02, None, 0.02]
    assert adjusted_shares([None]) == [None]


def test_a_claim_without_a_verdict_is_one_of_the_family(tmp_path: Path) -> None:
    decided = study(holm_p=0.02)
    undecided = study("regularization", statement="S22", conditions=[of_points()], holm_p=None)
    folder = write_studies(tmp_path / "studies", {"a": decided, "b": undecided, "c": {**undecided, "study": "third"}})
    results = [read_study(path) for path in folder.glob("*.json")]
    views = {view.result.study: view for view in view_studies(results, [], Words("en"))}
    assert views["lr-sensitivity"].adjusted == pytest.approx(0.06)
    assert views["lr-sensitivity"].family == "does_not_hold"
    assert views["regularization"].family is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "should be a study's result in JSON"),
        ("[]", "is not the result of a study"),
        ("{}", "study: field required"),
        (
            json.dumps(study() | {"verdict": "true"}),
            "verdict: input should be 'supported', 'refuted' or 'inconclusive'",
        ),
        (json.dumps(study() | {"effect": math.nan}), "should be a study's result in JSON"),
        (json.dumps(study() | {"conditions": [condition(effect="big")]}), "conditions.0.effect"),
    ],
)
def test_a_damaged_file_gets_one_sentence_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StudyError) as raised:
        read_study(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)
    assert "Make it again: bnlab study NAME." in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_folder_of_all_runs_means_the_studies_in_it(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "x.json").write_text("{")
    with pytest.raises(StudyError, match=r"x\.json should be a study's result"):
        make_report(str(tmp_path))


def test_keys_of_later_versions_and_missing_ones_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps({"study": "x", "claim": "y", "verdict": "refuted", "later": [1], "looks": 3, "stress": None})
    )
    found = read_study(path)
    assert (found.study, found.looks, found.stress.of, found.conditions) == ("x", (), 0, ())


@pytest.mark.parametrize(
    "bound", ["of its own kind", "", "above", "above 3 and 4", "within 3", "above 3 or so", "within [0.9, 1.1]"]
)
def test_a_bound_in_other_words_is_none(bound: str) -> None:
    assert read_region(bound) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"above": 3.0},
        {"arms": None, "arm": "batch", "above": -0.025},
        {"arms": None, "arm": "batch", "above": 2e6},
        {"within": 0.015},
        {"arms": None, "arm": "batch", "below": 1e-5},
        {"arms": None, "arm": "batch", "within": (-0.5, 1e-7)},
    ],
)
def test_a_bound_that_the_engine_writes_is_the_region_that_it_judges_by(asked: dict[str, Any]) -> None:
    one = study_file.Condition.model_validate({"metric": "test_loss", "arms": ("batch", "none"), **asked})
    assert read_region(one.bound) == Region(*one.ends)


@pytest.mark.parametrize(
    ("bound", "kind", "unit", "text"),
    [
        ("above 0.005", "pair", "share of images", "above 0.5 points"),
        ("within -0.01 and 0.01", "pair", "share of images", "within -1 and 1 points"),
        ("within 0.9 and 0.95", "arm", "share of images", "within 90% and 95%"),
        ("within 0.8 and 1.25", "pair", "times", "within 0.8 and 1.25 times"),
        ("above 1", "pair", "decades", "above 1 decade"),
        ("below 300", "arm", "steps", "below 300 steps"),
        ("above 0.1", "pair", "", "above 0.1"),
        ("below 0.8", "recovered", "share of the way", "below 0.8"),
        ("of its own kind", "pair", "times", "of its own kind"),
    ],
)
def test_a_bound_is_written_in_the_unit_of_its_effect(bound: str, kind: str, unit: str, text: str) -> None:
    assert in_unit(bound, kind, unit) == text


def test_the_bound_beside_an_effect_in_points_is_in_points() -> None:
    found = view_condition(Condition.model_validate(of_points()), "1", "f1", Words("en"))
    assert (found.bound, found.unit.amount(found.condition.effect, "en")) == ("above 0.5 points", "+0.33 points")
    assert found.picture is not None
    assert "Bound: above 0.5 points." in found.picture.drawings[0].svg


def test_a_bound_of_a_ratio_is_the_region_between_its_numbers() -> None:
    assert read_region("within 0.5 and 2") == Region(0.5, 2.0)


def test_the_open_end_of_a_bound_is_on_the_side_where_the_truth_may_lie() -> None:
    def ends(**given: Any) -> set[str]:
        return {each.open_end for each in seed_figures(Condition.model_validate(condition(**given)))}

    open_figure = [{"seen": 400.0, "least": 400.0, "greatest": None}] * 10
    assert ends() == {"high"}  # a larger rate of the first arm: a larger ratio
    assert ends(metric="steps_to:0.9", first=open_figure, second=[100.0] * 10) == {
        "low"
    }  # it took longer: a smaller one
    assert ends(metric="steps_to:0.9", first=[100.0] * 10, second=open_figure) == {"high"}
    assert ends(first=[1.0] * 10) == {""}


@pytest.mark.parametrize(
    ("kind", "unit", "value", "text"),
    [
        ("pair", "share of images", 0.0123, "+1.23 points"),
        ("pair", "share of images", -0.00001, "0.00 points"),
        ("arm", "share of images", 0.951, "95.10%"),
        ("pair", "times", 8.912, "8.91 times"),
        ("pair", "nats", -0.25, "−0.25 nats"),
        ("law", "", 4.4e-16, "4.4 × 10⁻¹⁶"),
        ("pair", "", None, "not known"),
    ],
)
def test_amounts_are_read_with_their_units(kind: str, unit: str, value: float | None, text: str) -> None:
    assert unit_of(kind, unit).amount(value, "en") == text


def test_a_number_on_the_page_is_the_number_within_half_a_percent() -> None:
    random = Random(0)
    values = [random.choice([-1, 1]) * 10 ** random.uniform(-14, 14) for _ in range(500)]
    for value in [*values, 0.0, 999.6, 0.00099999, 999999.0, 1e6, -1e-3]:
        text = number(value).replace("−", "-").replace(",", "")
        power = text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")).replace(" × 10", "e")
        assert float(power) == pytest.approx(value, rel=5.1e-3)
