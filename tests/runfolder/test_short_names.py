import os
from pathlib import Path

import pytest

from bnlab.errors import ConfigError
from bnlab.runfolder.finding import find_folder
from bnlab.runfolder.short_names import is_from_the_end

NAMES = [
    "batch-mlp-digits-lr0.1-s0-00c0ffee",
    "batch-mlp-digits-lr0.1-s1-01234567",
    "none-mlp-digits-lr0.1-s0-89abcdef",
]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path) -> Path:
    """Three runs; the second was trained last, the first before it."""
    for second, name in zip((200, 300, 100), NAMES, strict=True):
        manifest = tmp_path / "runs" / "single" / name / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
        os.utime(manifest, (second, second))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("word", "number"),
    [
        *[("last", 1), ("-1", 1), ("run:-1", 1), ("-2", 0), ("-3", 2)],
        *[("00c0ffee", 0), ("89abcdef", 2), ("none", 2), ("batch-mlp-digits-lr0.1-s1", 1), (NAMES[2], 2)],
    ],
)
def test_a_short_word_means_one_run(word: str, number: int, runs: Path) -> None:
    assert find_folder(word, runs) == runs / "single" / NAMES[number]


def test_a_sweep_of_that_name_comes_first(runs: Path) -> None:
    (runs / "last").mkdir()
    assert find_folder("last", runs) == runs / "last"


def test_several_runs_that_fit_are_listed(runs: Path) -> None:
    with pytest.raises(ConfigError, match=rf"batch could be one of 2 runs: {NAMES[0]}, {NAMES[1]}\. Type more"):
        find_folder("batch", runs)


def test_runs_of_one_name_in_two_places_are_listed_with_their_folders(runs: Path) -> None:
    copy = runs / "kept" / NAMES[2]
    copy.mkdir(parents=True)
    (copy / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"{copy}.*{runs / 'single' / NAMES[2]}"):
        find_folder("none-", runs)


def test_there_may_be_fewer_runs_than_asked_for(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run -4 does not exist: there are 3 runs"):
        find_folder("-4", runs)
    with pytest.raises(ConfigError, match="run -1 does not exist: there are no runs yet"):
        find_folder("last", tmp_path / "empty")


@pytest.mark.parametrize("word", ["-0", "1", "-a", "--1", "latest", "run:1"])
def test_other_words_are_names(word: str) -> None:
    assert not is_from_the_end(word)
