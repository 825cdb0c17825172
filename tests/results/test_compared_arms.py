from pathlib import Path
from typing import Any

from fake_sweep import run_folder, sweep_of

from bnlab.results.compared_arms import as_arms
from bnlab.runfolder.index import read_run_rows


def rows_of(*folders: Path) -> list[dict[str, Any]]:
    return [row for folder in folders for row in read_run_rows(folder)]


def write(folder: Path, norms: tuple[str, ...], lrs: tuple[float, ...] = (0.1,), **settings: int) -> Path:
    runs = [
        run_folder(folder, norm, lr, seed, [2.3, 1.0, 0.5 + seed / 10], settings=settings)
        for norm in norms
        for lr in lrs
        for seed in (0, 1)
    ]
    return sweep_of(folder, runs)


def test_two_sweeps_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    shallow, deep = write(tmp_path / "a", ("batch", "none"), depth=2), write(tmp_path / "b", ("batch", "none"), depth=9)
    found = as_arms(rows_of(shallow, deep))
    assert sorted(arm.label for arm in found.arms) == ["batch depth=2", "batch depth=9", "none depth=2", "none depth=9"]
    assert found.has_seeds


def test_two_sweeps_with_the_same_settings_are_told_apart_by_their_names(tmp_path: Path) -> None:
    found = as_arms(rows_of(write(tmp_path / "a", ("batch",)), write(tmp_path / "b", ("batch",))))
    assert [arm.label for arm in found.arms] == ["sweep=a", "sweep=b"]
    assert [len(arm.cells[0].runs) for arm in found.arms] == [2, 2]


def test_learning_rates_of_one_arm_are_compared_as_arms(tmp_path: Path) -> None:
    found = as_arms(rows_of(write(tmp_path / "a", ("batch",), (0.1, 1.0))))
    assert [arm.label for arm in found.arms] == ["lr=0.1", "lr=1"]
    assert found.has_seeds


def test_one_arm_is_not_compared_with_itself(tmp_path: Path) -> None:
    assert not as_arms(rows_of(write(tmp_path / "a", ("batch",)))).has_seeds
