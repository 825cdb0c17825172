import subprocess
import sys
from pathlib import Path

import pytest
from folded import folded

from bnlab.diagnostics.building import find_diagnostic_class
from bnlab.diagnostics.cards import SECTIONS, Card, cards_by_record, read_card
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.errors import ConfigError

OWN = '''
import package_that_is_not_there
from bnlab.diagnostics.diagnostic import Diagnostic

MOST = 0.25


class PerUnit(Diagnostic):
    unit = "share of units"
    cost = "extra"
    needs = frozenset({"update", "gradients"})


class Mine(PerUnit):
    """What I look at.

    Why I do.

        mine = a / b

    Reading:
        High is bad.

        So is low.

    Blind spots:
        Many: this is not a heading.
    """

    name = "mine"
    vectorizable = True
    healthy: dict = {"any": (-0.5, MOST), "relu": (0.0, float("inf"))}
    too_high = "of the units " \\
        "sleep"
'''


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "my_lab" / "instruments.py").write_text(OWN)
    return "my_lab.instruments:Mine"


@folded("name", DIAGNOSTICS)
def test_a_card_says_what_the_class_says(name: str) -> None:
    card, cls = read_card(name), find_diagnostic_class(name)
    assert (card.name, card.unit, card.cost) == (cls.name, cls.unit, cls.cost)
    assert card.name == name
    assert card.undefined == cls.undefined
    assert (set(card.needs), card.vectorizable) == (cls.needs, cls.vectorizable)
    assert (dict(card.healthy), card.too_low, card.too_high) == (dict(cls.healthy), cls.too_low, cls.too_high)
    words = " ".join((cls.__doc__ or "").split())
    for text in (card.summary, card.about, *card.sections.values()):
        assert " ".join(text.split()) in words
    assert {"Unit", "Cost", "Blind spots", "Source"} <= set(card.sections) <= set(SECTIONS)


def test_reading_cards_imports_no_torch() -> None:
    program = (
        "import sys\nfrom bnlab.diagnostics.cards import read_card\nfrom bnlab.diagnostics.catalog import DIAGNOSTICS\n"
        "[read_card(name) for name in DIAGNOSTICS]\nprint('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == (
        "False\n"
    )


def test_somebodys_own_is_read_and_never_imported(own: str) -> None:
    card = read_card(own)
    assert (card.name, card.place, card.summary) == ("mine", own, "What I look at.")
    assert card.about == "Why I do.\n\n    mine = a / b"
    assert card.sections == {
        "Reading": "High is bad.\n\nSo is low.",
        "Blind spots": "Many: this is not a heading.",
    }
    assert card.vectorizable
    assert card.too_high == "of the units sleep"


def test_what_a_base_class_says_counts_too(own: str) -> None:
    card = read_card(own)
    assert (card.unit, card.cost, card.needs) == ("share of units", "extra", ("gradients", "update"))


def test_the_range_of_the_facet_comes_before_the_activations_and_that_before_any(own: str) -> None:
    card = read_card(own)
    assert card.healthy_range("tanh", "") == (-0.5, 0.25)
    assert card.healthy_range("relu", "q50") == (0.0, float("inf"))
    assert Card("x", "", healthy={"cosine": (0.5, 1), "relu": (0, 1)}).healthy_range("relu", "cosine") == (0.5, 1)
    assert Card("x", "", healthy={"relu": (0, 1)}).healthy_range("tanh", "") is None
    assert card.as_dict()["healthy"]["relu"] == [0.0, None]


def test_a_unit_may_name_those_of_several_facets() -> None:
    named = Card("x", "", unit="spreads; raw: units; growth: ratio")
    assert [named.unit_of(facet, ["normalized", "raw", "growth"]) for facet in ("normalized", "raw", "growth")] == [
        *("spreads", "units", "ratio")
    ]
    in_turn = Card("x", "", unit="nats; share")
    facets = ["fixed_step", "fixed_step_relative", "lr_step", "lr_step_relative"]
    assert [in_turn.unit_of(facet, facets) for facet in facets] == ["nats", "share"] * 2
    assert Card("x", "", unit="nats").unit_of("q50", ["q15", "q50"]) == "nats"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("satration", "Did you mean saturation"),
        ("my_lab.instruments:Yours", "is not in the source of my_lab.instruments"),
        ("nowhere.at.all:Mine", "is not in the source"),
        ("math:Mine", "is not in the source"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_is_not_there_is_said_in_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_card(name)


def test_a_card_is_read_where_the_current_folder_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_card("saturation").unit
    with pytest.raises(ConfigError, match="is not in the source of my_other_lab"):
        read_card("my_other_lab:Mine")


def test_records_find_their_cards_by_the_name_that_a_class_gives_itself(own: str) -> None:
    cards = cards_by_record(["saturation", "mine", "lost"], ["saturation", own, "not.here:Lost"])
    assert set(cards) == {"saturation", "mine"}
    assert cards["mine"].place == own


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_what_is_out_of_range_is_told_as_a_state_and_not_as_a_fate(name: str) -> None:
    card = read_card(name)  # after three steps nobody knows what a unit will learn
    assert "learn" not in f"{card.too_low} {card.too_high}"
