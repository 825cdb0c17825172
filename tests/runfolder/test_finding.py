from pathlib import Path

import pytest

from bnlab.errors import ConfigError
from bnlab.runfolder.finding import find_folder, find_run, known_names


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNLAB_RUNS", raising=False)
    return tmp_path / "runs"


def made(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    return path


def test_a_sweep_and_a_run_are_found_by_their_names(runs: Path) -> None:
    run = made(runs / "s" / "a-run")
    assert find_folder("s") == run.parent
    assert find_folder("a-run") == find_folder(run) == find_folder("runs/s/a-run") == run
    assert find_folder() == runs
    assert find_run("a-run").path == find_run(run).path == find_run("runs/s/a-run").path == run


def test_a_folder_that_holds_one_run_stands_for_it(runs: Path) -> None:
    run = made(runs / "s" / "a-run")
    assert find_run("s").path == find_run(runs).path == run
    made(runs / "s" / "b-run")
    with pytest.raises(ConfigError, match=r"s holds 2 runs.* Name one, such as a-run, .*: bnlab compare s$"):
        find_run("s")


@pytest.mark.parametrize("find", [find_folder, find_run])
@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ("a-rum", r"a-rum is neither .* Did you mean a-run or b-run\?"),
        ("nope", r"nope is neither .* Known: other, s\.$"),
        ("runs/s/nope", r"runs/s/nope is not a folder of runs\. Those there are: bnlab list runs$"),
    ],
)
def test_a_name_that_is_not_there_is_told_which_are(runs: Path, find, given: str, cure: str) -> None:  # type: ignore[no-untyped-def]
    made(runs / "s" / "a-run")
    made(runs / "other" / "b-run")
    with pytest.raises(ConfigError, match=cure):
        find(given)


def test_before_the_first_run_one_is_told_how_to_make_it(runs: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"There are no runs yet: bnlab train trains one\.$"):
            find_run("a-run")
        runs.mkdir(exist_ok=True)


@pytest.mark.parametrize("find", [find_folder, find_run])
def test_a_name_in_several_places_stands_for_none(runs: Path, find) -> None:  # type: ignore[no-untyped-def]
    run, other = made(runs / "s" / "a-run"), made(runs / "t" / "a-run")
    with pytest.raises(ConfigError, match=f"a-run is in 2 places. Give the folder of one: {run}, {other}$"):
        find("a-run")
    assert find_run(other).path == other


def test_figures_and_what_is_hidden_hold_no_runs(runs: Path) -> None:
    made(runs / "s" / "a-run")
    made(runs / "s" / ".locks" / "b-run")
    (runs / "comparisons" / "figures").mkdir(parents=True)
    (runs / ".cache").mkdir()
    assert known_names() == ["s", "a-run"]
    (runs / "comparisons" / "sweep.json").write_text("{}")
    assert known_names() == ["comparisons", "s", "a-run"]


@pytest.mark.parametrize("given", [None, "runs", "s"])
def test_a_deleted_current_folder_is_named(
    given: str | None, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(runs / "s" / "a-run")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"^runs is in the current folder, which no longer exists. Go to another"):
        find_folder(given)
    assert find_folder(run) == run
