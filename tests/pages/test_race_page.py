"""The page of a race: its title, and what it says where each arm has one seed."""

import re
from pathlib import Path

import pytest
from judged_runs import Place, Written, rising, write_judged

from bnlab.pages.race_page import make_race_page, show_race
from bnlab.pages.race_title import race_title
from bnlab.pages.report_files import make_report
from bnlab.pages.study_results import Lang
from bnlab.pages.words import Words
from bnlab.results.race import read_race


def saturating(place: Place) -> Written:
    """Return a run that differs by its seed."""
    return rising(0.9 + 0.01 * place.seed)


def _race(folder: Path, num_seeds: int, lang: Lang) -> str:
    """Return the page of a race of two arms, as text."""
    folder = write_judged(folder / "mine", saturating, lrs=(0.1,), seeds=range(num_seeds))
    parts = {
        norm: [f"{norm}-mlp-digits-lr0.1-s{seed}-00000000" for seed in range(num_seeds)] for norm in ("batch", "none")
    }
    arms, words = read_race(folder, parts), Words(lang)
    return make_race_page("Title", "", [show_race(arms, "r", words, "bnlab race")], [], words).html()


@pytest.mark.slow
@pytest.mark.parametrize(("lang", "told"), [("en", "One seed per arm: no interval"), ("zh", "每个组别只有一个种子")])
def test_the_page_of_a_race_with_one_seed_speaks_of_no_interval(tmp_path: Path, lang: Lang, told: str) -> None:
    page = _race(tmp_path, 1, lang)
    assert told in page
    assert "seed=range(5)" in page
    for absent in ("[", "Band: its 95%", "95% 区间", "CSV", "JSON"):
        assert absent not in re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL), absent


@pytest.mark.slow
def test_that_with_two_seeds_explains_its_intervals(tmp_path: Path) -> None:
    page = _race(tmp_path, 2, "en")
    assert "One seed per arm" not in page
    assert "In brackets: the 95% interval over seeds" in page
    assert "Band: its 95% interval" in page


@pytest.mark.slow
def test_so_does_the_page_of_a_sweep_with_one_seed(tmp_path: Path) -> None:
    write_judged(tmp_path / "mine", saturating, lrs=(0.1,), seeds=range(1))
    page = make_report(str(tmp_path / "mine")).html
    assert "One seed per arm: no interval" in page
    assert "Band: its 95% interval" not in page


@pytest.mark.parametrize(
    ("name", "labels", "title"),
    [
        ("6cffadc5", ["batch", "none"], "batch against none"),
        ("6cffadc5", ["batch", "a", "b", "c"], "batch against a, b and c"),
        ("6cffadc5", ["batch", "a", "b", "c", "d"], "batch against 4 others"),
        ("mine", ["batch", "none"], "Race mine"),
    ],
)
def test_a_race_without_a_name_is_called_by_its_arms(name: str, labels: list[str], title: str) -> None:
    assert race_title(name, labels, Words("en")) == title
