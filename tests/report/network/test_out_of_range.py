import math
from dataclasses import replace
from pathlib import Path

import pytest
from measured_runs import write_measured_run

from bnlab.diagnostics.cards import Card
from bnlab.report.network.out_of_range import find_out_of_range
from bnlab.report.network.read import Key, MeasuredRun, read_measured_run
from bnlab.runfolder.folder import RunFolder

CARD = Card(
    "dead_fraction",
    "",
    unit="share of units",
    healthy={"any": (0.0, 0.2), "tanh": (0.1, 0.9)},
    too_low="fewer than one would think",
    too_high="of the units say the same",
)


def seen(
    folder: Path, curves: dict[str, list[float]], activation: str = "relu", card: Card | None = CARD
) -> MeasuredRun:
    run = read_measured_run(RunFolder(write_measured_run(folder / "run", {"d": curves}, activation=activation)))
    return replace(run, measured={"d": replace(run.measured["d"], card=card)})


def test_the_worst_layer_speaks_and_the_others_are_named(tmp_path: Path) -> None:
    curves = {"hidden1": [0, 0, 0, 0.3, 0.25], "hidden2": [0, 0, 0.5, 0.4, 0.5], "hidden3": [1, 1, 1, 1, 0.2]}
    (verdict,) = find_out_of_range(seen(tmp_path, curves))
    assert verdict.sentence == "hidden2: 50.0% of the units say the same (also hidden1 25.0%)"
    assert (verdict.side, verdict.since, verdict.worst) == ("high", 100, Key("hidden2"))


def test_both_ends_of_a_range_are_in_it(tmp_path: Path) -> None:
    assert find_out_of_range(seen(tmp_path, {"hidden1": [1, 1, 1, 1, 0.2], "hidden2": [1, 1, 1, 1, 0.0]})) == []


def test_the_range_is_that_of_the_activation(tmp_path: Path) -> None:
    (verdict,) = find_out_of_range(seen(tmp_path, {"hidden1": [0.05] * 5, "hidden2": [0.5] * 5}, "tanh"))
    assert verdict.sentence == "hidden1: 5.0%, fewer than one would think"
    assert verdict.since == 0


@pytest.mark.parametrize("card", [CARD, None, Card("d", "")])
def test_what_is_not_a_number_is_never_in_range(tmp_path: Path, card: Card | None) -> None:
    (verdict,) = find_out_of_range(seen(tmp_path, {"hidden1": [0, 0, math.nan, math.nan, math.nan]}, card=card))
    assert (verdict.side, verdict.sentence) == ("not a number", "hidden1: not a number since step 10")


def test_infinity_is_above_every_range(tmp_path: Path) -> None:
    (verdict,) = find_out_of_range(seen(tmp_path, {"hidden1": [0, 0, 0, 0, math.inf]}))
    assert (verdict.side, verdict.sentence) == ("high", "hidden1: inf of the units say the same")


def test_of_the_whole_network_only_the_facet_is_named(tmp_path: Path) -> None:
    (plain,) = find_out_of_range(seen(tmp_path / "1", {"network": [1.0] * 5}))
    (facet,) = find_out_of_range(seen(tmp_path / "2", {"network/running": [1.0] * 5}))
    assert plain.sentence == "100% of the units say the same"
    assert facet.sentence == "running: 100% of the units say the same"


def test_without_a_card_or_a_range_nothing_is_said(tmp_path: Path) -> None:
    assert find_out_of_range(seen(tmp_path / "1", {"hidden1": [1e9] * 5}, card=None)) == []
    assert find_out_of_range(seen(tmp_path / "2", {"hidden1": [1e9] * 5}, card=Card("d", ""))) == []
