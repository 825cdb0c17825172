"""The bench of many short runs, with few of them: it measures what it says, and its commands work."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from loaded_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench() -> ModuleType:
    return load_script("bench_scale")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rounds", "1", "--beside", str(ROOT)], ["each run more, CPU-ms", "4 runs, this build to the other"]),
        (["--runs", "4", "--word", "train.keep_weights=false"], ["a sweep of 4 runs", "the same again", "7 files and"]),
    ],
)
def test_the_bench_of_many_runs_measures_both_kinds_of_sweeps(
    words: list[str],
    told: list[str],
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "SIZES", (2, 4))
    monkeypatch.setattr(sys, "argv", ["bench_scale.py", *words])
    bench.main()
    printed = capsys.readouterr().out
    for text in told:
        assert text in printed


def test_the_disk_that_a_run_takes_is_that_of_its_files(bench: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_bytes(b"x" * 5000)
    (tmp_path / "two" / "checkpoint.pt").write_bytes(b"x" * 100_000)
    (tmp_path / "arms").mkdir()
    files, used = bench.on_disk(tmp_path)
    assert files == 1.5
    assert 110_000 / 2 / 1024 <= used <= 3 * 110_000 / 2 / 1024  # whole blocks of the disk
