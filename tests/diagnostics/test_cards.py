"""What the cards say is what the classes say; and every class says what the house asks of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bnlab.diagnostics.building import find_diagnostic_class
from bnlab.diagnostics.cards import known_cards, read_card, read_cards
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.errors import ConfigError


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_card_says_what_the_class_says(name):
    card, found = read_card(name), find_diagnostic_class(name)
    assert card.name == name == found.name
    assert (card.unit, card.cost, card.vectorizable) == (found.unit, found.cost, found.vectorizable)
    assert set(card.needs) == set(found.needs)
    assert dict(card.healthy) == dict(found.healthy)
    assert (card.too_low, card.too_high) == (found.too_low, found.too_high)
    assert found.__doc__.startswith(card.summary.split()[0])


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_every_docstring_says_unit_reading_cost_blind_spots_and_source(name):
    card = read_card(name)
    assert list(card.sections) == ["Unit", "Reading", "Cost", "Blind spots", "Source"]
    assert all(card.sections.values())
    assert card.summary.endswith((".", "?"))


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_range_has_words_for_each_of_its_ends_that_can_be_passed(name):
    card = read_card(name)
    for low, high in card.healthy.values():
        assert low < high
        assert card.too_high or high >= 1e9
        assert card.too_low or low <= 0 or card.name == "mean_cosine"
    assert bool(card.healthy) == bool(card.too_low or card.too_high)


def test_cards_are_read_without_torch():
    program = (
        "import sys; from bnlab.diagnostics.cards import read_cards; cards = read_cards()\n"
        "print(len(cards), [name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [str(len(read_cards())), "[]\n"]


def test_a_card_of_ones_own_is_read_from_its_source(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_own_instruments.py").write_text(
        "raise RuntimeError('imported')\n\n\n"
        "class Mine(Diagnostic):\n"
        '    """How large it is.\n\n    Unit:\n        Metres.\n    """\n\n'
        "    name = 'size'\n    unit = 'm'\n    cost: ClassVar[str] = 'heavy'\n    healthy = {'any': (0, 1)}\n"
        "    needs = frozenset({'update'})\n    too_high = f'x{1}'\n"
    )
    card = read_card("my_own_instruments:Mine")
    assert (card.name, card.unit, card.cost, card.needs) == ("size", "m", "heavy", ("update",))
    assert (card.summary, dict(card.sections)) == ("How large it is.", {"Unit": "Metres."})
    assert card.range_for("relu") == (0, 1)
    assert card.too_high == ""  # computed
    with pytest.raises(ConfigError, match="source of my_own_instruments:Other"):
        read_card("my_own_instruments:Other")


def test_what_is_not_there_any_more_is_known_by_its_name():
    assert known_cards(["saturation", "gone_with_the_wind"])["gone_with_the_wind"].unit == ""
