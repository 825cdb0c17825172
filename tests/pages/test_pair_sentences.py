"""The sentence on a pair of networks follows from what was measured."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import Place, Written, rising, write_judged

from bnlab.pages.pair_sentences import Pair, say_pair, share_in_words
from bnlab.pages.race_page import arms_table, make_race_page, show_race
from bnlab.pages.words import Words
from bnlab.report.interval_text import points_with_interval
from bnlab.results.race import read_race
from bnlab.stats.estimate import Estimate

FREE, FULL, SOME = [0.004] * 5, [0.9] * 5, [0.1] * 5


def pair_of(
    folder: Path,
    batch: float,
    none: float,
    saturation: list[float] | None = None,
    *,
    activation: str = "sigmoid",
    seeds: int = 3,
    wider: float = 0.0,
) -> Pair:
    """Return a pair whose test accuracies are `batch` and `none`, and 1 point more with each seed.

    `wider`: by how much their difference grows with each seed.
    """

    def run(place: Place) -> Written:
        end = (batch + wider * place.seed if place.norm == "batch" else none) + 0.01 * place.seed
        return rising(end, saturation=saturation or (), settings={})

    write_judged(folder, run, seeds=range(seeds))
    for manifest in folder.glob("*/manifest.json"):
        text = manifest.read_text(encoding="utf-8")
        settings = f'"model": {{"name": "mlp", "depth": 5, "activation": "{activation}", "init_std": null}}'
        manifest.write_text(text.replace('"model": {"name": "mlp"}', settings), encoding="utf-8")
    parts = {norm: [f"{norm}-mlp-digits-lr0.1-s{seed}-00000000" for seed in range(seeds)] for norm in ("batch", "none")}
    return Pair.of(*read_race(folder, parts))


CASES = [
    (
        0.9,
        0.1,
        FREE,
        "the plain network learned nothing, and saturation is not why: at no measured step were more than",
    ),
    (0.9, 0.1, FULL, "the plain network learned nothing, and up to 90% of a layer's units were saturated"),
    (0.9, 0.8, FREE, "the plain network learned too, and at no measured step were more than 0.4%"),
    (0.9, 0.8, SOME, "the plain network learned too, with up to 10% of a layer's units saturated"),
]


@pytest.mark.parametrize(("batch", "none", "saturation", "said"), CASES)
def test_what_is_said_of_saturation_is_what_was_measured(
    tmp_path: Path, batch: float, none: float, saturation: list[float], said: str
) -> None:
    sentence = say_pair(pair_of(tmp_path / "mine", batch, none, saturation), Words("en"))
    assert said in sentence
    assert sentence.startswith("5 sigmoid layers, usual initial weights: with batch normalization ")
    assert "saturation is not why" not in sentence or none < 0.15


def test_a_network_that_began_saturated_and_learned_is_told_of(tmp_path: Path) -> None:
    pair = pair_of(tmp_path / "mine", 0.9, 0.8, FULL)
    # hidden2 of these runs has none saturated: 0.9 and 0 are 45% of all units
    assert "with up to 90% of a layer's units saturated" in say_pair(pair, Words("en"))
    for metrics in (tmp_path / "mine").glob("none*/metrics.jsonl"):
        metrics.write_text(metrics.read_text(encoding="utf-8").replace('"hidden2": 0.0', '"hidden2": 0.3'))
    again = Pair.of(*(replace(arm) for arm in (pair.first, pair.second)))  # an arm reads its records once
    said = "the plain network learned all the same, though 60% of its units were saturated before the first step"
    assert said in say_pair(again, Words("en"))


def test_the_accuracies_are_means_over_seeds_with_their_interval(tmp_path: Path) -> None:
    sentence = say_pair(pair_of(tmp_path / "mine", 0.9, 0.1, FREE), Words("en"))
    # 90, 91, 92%: mean 91, s = 1, t(2) = 4.303: 4.303 / sqrt(3) = 2.484
    assert "91.0% [88.5, 93.5] of the test images" in sentence
    assert "without it 11.0% [8.5, 13.5]" in sentence


@pytest.mark.parametrize(
    ("batch", "none", "seeds", "wider", "said"),
    [
        (0.9, 0.9, 3, 0, "the difference of 0.0 [0.0, 0.0] points over 3 seeds is none that can be told from chance"),
        (0.9, 0.8, 3, 0.001, "batch normalization changed the accuracy by +10.1 [+9.7, +10.5] points: a gain"),
        (0.8, 0.9, 3, 0.001, "batch normalization changed the accuracy by -9.9 [-10.3, -9.5] points: a loss"),
        (0.9, 0.8, 3, 0, "the difference is +10.0 [+10.0, +10.0] points, which so few seeds (3) cannot tell"),
        (0.8, 0.9, 2, 0, "the difference is -10.0 points, which so few seeds (2) cannot tell from chance"),
        (0.1, 0.9, 3, 0, "with it the network learned nothing; "),
    ],
)
def test_without_saturation_the_difference_decides(
    tmp_path: Path, batch: float, none: float, seeds: int, wider: float, said: str
) -> None:
    pair = pair_of(tmp_path / "mine", batch, none, activation="relu", seeds=seeds, wider=wider)
    sentence = say_pair(pair, Words("en"))
    assert said in sentence
    assert "saturat" not in sentence


@pytest.mark.parametrize(("batch", "none", "saturation", "_"), CASES)
def test_the_chinese_sentence_has_the_same_numbers_and_no_english(
    tmp_path: Path, batch: float, none: float, saturation: list[float], _: str
) -> None:
    pair = pair_of(tmp_path / "mine", batch, none, saturation)
    english, chinese = say_pair(pair, Words("en")), say_pair(pair, Words("zh"))
    assert sorted(re.findall(r"\d+\.?\d*", english)) == sorted(re.findall(r"\d+\.?\d*", chinese))
    assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,}", chinese) == []


def test_numbers_are_written_with_their_ends_and_without_a_minus_at_zero() -> None:
    assert points_with_interval(Estimate(-0.0001, -0.02, 0.0001, 3)) == "0.0 [-2.0, 0.0]"
    assert share_in_words(Estimate(0.9, None, None, 1), Words("en")) == "90.0%"
    assert share_in_words(None, Words("zh")) == "未知"


def test_the_page_has_the_sentence_the_table_and_the_curves_of_each_race(tmp_path: Path) -> None:
    pair, words = pair_of(tmp_path / "mine", 0.9, 0.1, FREE), Words("en")
    arms = [pair.first, pair.second]
    sentence = say_pair(pair, words)
    page = make_race_page("Title", "Lead", [show_race(arms, "r", words, "bnlab demo", "Mine", sentence)], [], words)
    html = page.html()
    assert page.sentences == [sentence]
    for text in (sentence, "91.0% [88.5, 93.5]", "-80.0 [-80.0, -80.0]", "bnlab demo", "<svg", "Mine"):
        assert text.replace("'", "&#39;") in html
    assert "best learning rate" not in html
    assert [[cell.text for cell in row][:3] for row in arms_table(arms, words).rows] == [
        ["batch", "3", "91.0% [88.5, 93.5]"],
        ["none", "3", "11.0% [8.5, 13.5]"],
    ]
