"""What TensorBoard is told to open on; tests/loggers/test_dashboard_in_a_browser.py looks at what it makes of that."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote

import pytest
from fake_sweep import run_folder, sweep_of
from live_board import live_tensorboard
from tensorboard import default
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from written_events import SHOWN, write_runs

from bnlab.loggers.tensorboard.bare_address import opening_on
from bnlab.loggers.tensorboard.first_page import FEW, MOST, FirstPage, read_first_page
from bnlab.loggers.tensorboard.joint_layout import plugins_with_a_joint_layout
from bnlab.loggers.tensorboard.sweep_dashboard import write_sweep_dashboard


def write_sweep(folder: Path, arms: int, time: int = 0) -> list[str]:
    """Write a sweep with one run of each arm; return the names of its arms."""
    names = [f"norm{number:02d}" for number in range(arms)]
    write_sweep_dashboard(sweep_of(folder, [run_folder(folder, name, 0.1, 0, [2.0, 1.0, 0.5]) for name in names]))
    os.utime(folder / "sweep.json", (1e9 + time,) * 2)
    return [f"arms/{name}" for name in names]


def found(page: FirstPage, *names: str) -> list[str]:
    return [name for name in names if re.search(page.pattern, name)]


def test_a_run_is_all_there_is(tmp_path: Path) -> None:
    (name,) = write_runs(tmp_path, 1)
    assert read_first_page(tmp_path / name) == FirstPage((".",))
    assert read_first_page(tmp_path) == FirstPage((name,), "^single/")


def test_what_tensorboard_does_not_show_is_not_waited_for(tmp_path: Path) -> None:
    (name,) = write_runs(tmp_path, 1)
    run_folder(tmp_path / "single", "batch", 0.1, 0, [2.0, 1.0])  # loggers=[]
    assert read_first_page(tmp_path).runs == (name,)
    assert read_first_page(tmp_path / "single" / "batch-mlp-fake-lr0.1-s0") == FirstPage(())
    (tmp_path / "empty").mkdir()
    assert read_first_page(tmp_path / "empty") == FirstPage(())


def test_of_a_sweep_the_arms_are_checked(tmp_path: Path) -> None:
    arms = write_sweep(tmp_path / "s", 2)
    page = read_first_page(tmp_path / "s")
    assert page == FirstPage(tuple(arms), "^arms/")
    assert found(page, ".", *arms, "norm00-mlp-fake-lr0.1-s0") == arms


def test_of_all_sweeps_the_arms_are_checked_and_runs_outside(tmp_path: Path) -> None:
    arms = [f"{name}/{arm}" for name in ("a", "b.c") for arm in write_sweep(tmp_path / name, 2)]
    page = read_first_page(tmp_path)
    assert page == FirstPage(tuple(arms), "/arms/")
    single = write_runs(tmp_path, 2)
    page = read_first_page(tmp_path)
    assert set(page.runs) == {*arms, *single}
    assert found(page, *arms, *single, "a", "a/norm00-mlp-fake-lr0.1-s0") == [*arms, *single]


def test_of_a_sweep_without_arms_yet_its_runs_are_checked(tmp_path: Path) -> None:
    names = write_runs(tmp_path, 3, "s (1)", ["norm"])
    sweep_of(tmp_path / "s (1)", [name.rpartition("/")[2] for name in names])
    page = read_first_page(tmp_path)
    assert set(page.runs) == set(names)
    assert found(page, *page.runs, "s 1/other") == [*page.runs]
    assert read_first_page(tmp_path / "s (1)").pattern == ""


def test_of_more_than_tensorboard_checks_the_newest_are_checked(tmp_path: Path) -> None:
    names = write_runs(tmp_path, MOST + 1)
    page = read_first_page(tmp_path)
    assert list(page.runs) == names[: -FEW - 1 : -1]
    assert page.num_others == MOST + 1 - FEW
    assert set(found(page, *names)) == set(page.runs)
    state = unquote(page.fragment.partition("runSelectionState=")[2])
    assert json.loads(base64.b64decode(state)) == dict.fromkeys(page.runs, True)


def test_of_many_sweeps_the_newest_are_checked_each_as_a_whole(tmp_path: Path) -> None:
    arms = {name: write_sweep(tmp_path / name, 8, time) for time, name in enumerate(("a", "b", "c", "d", "e", "f"))}
    page = read_first_page(tmp_path)
    assert list(page.runs) == [f"f/{arm}" for arm in arms["f"]]
    assert found(page, "a/arms/norm00", "f/norm00-mlp-fake-lr0.1-s0", *page.runs) == [*page.runs]


def test_of_a_sweep_with_very_many_arms_some_are_checked(tmp_path: Path) -> None:
    arms = write_sweep(tmp_path, MOST + 1)
    page = read_first_page(tmp_path)
    assert list(page.runs) == found(page, *arms) == arms[:FEW]
    assert "runSelectionState" in page.fragment


def test_nothing_is_smoothed_and_loss_and_accuracy_come_first() -> None:
    page = FirstPage(("arms/a",), "^arms/")
    query = parse_qs(page.query)
    assert query["smoothing"] == ["0"]
    assert query["runFilter"] == ["^arms/"]
    tags = [card["tag"] for card in json.loads(query["pinnedCards"][0])]
    assert tags == ["eval/loss", "eval/accuracy", "train/loss", "train/accuracy"]
    assert "_smoothingWeight=0" in page.fragment


def answer_of(path: str, query: str) -> bytes:
    """Return what is at an address, if TensorBoard itself answers 'its own' everywhere."""

    def app(_: dict[str, Any], __: Any) -> list[bytes]:
        return [b"its own"]

    opening = opening_on(app, lambda: FirstPage(("</script>",)))
    return b"".join(opening({"PATH_INFO": path, "QUERY_STRING": query}, lambda *_: None))


def test_the_bare_address_leads_on_and_all_others_are_tensorboards_own() -> None:
    assert answer_of("/", "smoothing=0") == answer_of("/data/runs", "") == b"its own"
    page = answer_of("/", "").decode()
    assert "custom_scalars&_smoothingWeight=0" in page
    assert page.count("</script>") == 1  # a name ends no script


@pytest.mark.parametrize("asked", [("ctx",), ("ctx", "experiment"), ("ctx", "experiment", "new")])
def test_where_tensorboard_asks_for_a_page_in_another_way_it_shows_its_own_and_one_sentence_says_so(
    asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(CustomScalarsPlugin, "layout_impl", lambda _, *asked: f"its own for {asked}")
    (ours,) = set(plugins_with_a_joint_layout(str)) - set(default.get_plugins())
    plugin = ours(mock.Mock(data_provider=object()))  # which lists no scalars
    assert [plugin.layout_impl(*asked) for _ in range(2)] == 2 * [f"its own for {asked}"]
    assert len(caplog.messages) == 1
    assert "in another way than 2.21: it shows the pages that runs have written" in caplog.text


def test_where_tensorboard_has_no_such_method_its_plugins_stay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(CustomScalarsPlugin, "layout_impl")
    assert plugins_with_a_joint_layout(str) == list(default.get_plugins())
    assert len(caplog.messages) == 1


@pytest.mark.slow
def test_a_folder_that_is_no_sweep_has_one_page_of_the_curves_that_are_checked(tmp_path: Path) -> None:
    """TensorBoard would join the pages of both sweeps: bands, learning rates, the runs' charts, most of them empty."""
    for lr in (0.1, 1.0):
        run_folder(tmp_path / "a", "batch", lr, 0, [2.0, 1.0, 0.5])
    write_sweep_dashboard(sweep_of(tmp_path / "a", sorted(path.name for path in (tmp_path / "a").iterdir())))
    write_runs(tmp_path, 1)
    with live_tensorboard(tmp_path) as board:
        board.wait_for("data/plugin/scalars/tags", lambda tags: len(tags) == 2)
        layout = board.get("data/plugin/custom_scalars/layout")
        assert [part["title"] for part in layout["category"]] == ["Learning", "Inside the network"]
        titles = [chart["title"] for part in layout["category"] for chart in part["chart"]]
        assert titles == ["loss", "accuracy", *(name.replace("_", " ") for name in SHOWN)]


@pytest.mark.slow
def test_a_run_of_a_sweep_has_a_page_although_it_wrote_none(tmp_path: Path) -> None:
    (name,) = write_runs(tmp_path, 1, "s", ["norm"])
    sweep_of(tmp_path / "s", [name.removeprefix("s/")])
    with live_tensorboard(tmp_path / name) as board:
        board.wait_for("data/plugin/scalars/tags", lambda tags: set(tags) == {"."})
        assert board.get("data/plugins_listing")["custom_scalars"]["enabled"]
        assert len(board.get("data/plugin/custom_scalars/layout")["category"]) == 2
