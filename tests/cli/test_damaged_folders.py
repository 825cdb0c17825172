import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damaged_folders import DAMAGES, GROUPS, WORDS, Damage, Workshop
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import bnlab
from bnlab.errors import ConfigError, RunError
from bnlab.runfolder.finding import find_run_folders

Say = Callable[..., Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Two runs of a sweep, trained once."""
    return Workshop.opened(tmp_path_factory.mktemp("damaged") / "runs")


@pytest.fixture
def run(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of one of these runs, as it was, among the runs of the command line."""
    monkeypatch.setenv("BNLAB_RUNS", str(shop.runs))
    shop.mend()
    yield shop.run
    shop.mend()


def hold_to_it(shop: Workshop, damages: list[Damage], group: int) -> None:
    shop.try_damages(damages, group)
    faults = [*shop.tracebacks, *shop.silent]
    shop.tracebacks, shop.silent = [], []
    assert not faults


def rows_of(bnlab_says: Say) -> dict[str, Any]:
    return {row["run_id"]: row for row in json.loads(bnlab_says("list", "runs", "mine", "--json").out)}


PROPERTY = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.filterwarnings("ignore")  # numpy and torch may warn of odd numbers: that is no traceback
@settings(max_examples=16, **PROPERTY)
@given(damages=st.lists(DAMAGES, min_size=1, max_size=3))
def test_a_damaged_folder_is_listed_without_a_traceback_and_without_a_wrong_number_in_silence(
    shop: Workshop, damages: list[Damage]
) -> None:
    hold_to_it(shop, damages, group=0)


NUM_PARTS, EXAMPLES_OF_A_PART = 10, 200
"""2,000 folders, in parts that the processes of a test run share."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_no_command_that_reads_a_damaged_folder_does_either(shop: Workshop, part: int) -> None:
    @seed(part)  # each part draws other damages, and the same ones each time
    @settings(max_examples=EXAMPLES_OF_A_PART, **PROPERTY)
    @given(damages=st.lists(DAMAGES, min_size=1, max_size=3), group=st.sampled_from(range(1, len(GROUPS))))
    def read_with_a_group_of_commands(damages: list[Damage], group: int) -> None:
        hold_to_it(shop, damages, group)

    read_with_a_group_of_commands()


def keep_half(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[: len(lines) // 2]))


def test_a_finished_run_without_its_end_is_damaged_in_all_views(
    bnlab_says: Say, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_half(run)
    row = rows_of(bnlab_says)[run.name]
    assert row["status"] == "failed"
    assert "test_accuracy" not in row
    assert row["problem"].startswith("metrics.jsonl stops at step 5, without the end of the run")
    for words in (("list", "runs"), ("show", str(run), "--no-figures"), ("compare", "mine", "--no-figures")):
        answer = bnlab_says(*words)
        assert answer.status == 0
        assert f"warning: {run.name}: {row['problem']}" in answer.err
    bnlab.read_curves(run)
    assert row["problem"] in caplog.text
    answer = bnlab_says("rerun", str(run))
    assert answer.status == 2
    assert row["problem"] in answer.err


def test_a_run_without_its_end_is_trained_again_and_says_why(bnlab_says: Say, run: Path) -> None:
    whole = (run / "metrics.jsonl").read_bytes()
    keep_half(run)
    answer = bnlab_says("train", *WORDS, "seed=0", "--json")
    assert answer.status == 0
    assert "without the end of the run. It is trained again." in answer.err
    assert not json.loads(answer.out)["cached"]
    assert (run / "metrics.jsonl").read_bytes() == whole
    assert {path.name for path in run.glob("*.damaged")} == {"checkpoint.pt.damaged", "metrics.jsonl.damaged"}


def test_metrics_are_the_truth_and_a_summary_that_says_otherwise_is_named(bnlab_says: Say, run: Path) -> None:
    true = rows_of(bnlab_says)[run.name]["test_accuracy"]
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "test_accuracy": 0.99}))
    problem = f"summary.json says test_accuracy 0.99, metrics.jsonl {true}"
    row = rows_of(bnlab_says)[run.name]
    assert (row["status"], row["test_accuracy"], row["problem"]) == ("finished", true, problem)
    answer = bnlab_says("train", *WORDS, "seed=0", "--json")
    assert (json.loads(answer.out)["test_accuracy"], json.loads(answer.out)["cached"]) == (true, True)
    assert f"{problem}. The result is that of metrics.jsonl." in answer.err
    answer = bnlab_says("rerun", str(run))
    assert answer.status == 0
    assert problem in answer.err


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: lines[1:], id="first line lost"),
        pytest.param(lambda lines: [*lines[:3], *lines[2:]], id="a line doubled"),
        pytest.param(lambda lines: [lines[0][:-9], *lines[1:]], id="first line cut"),
        pytest.param(lambda lines: [*lines[:-1], *lines], id="the whole doubled"),
    ],
)
def test_records_that_are_lost_or_doubled_far_from_the_end_are_named(
    bnlab_says: Say, run: Path, change: Callable[[list[str]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnlab.runfolder.json_lines._BLOCK", 1000)  # as if the file were long
    assert "problem" not in rows_of(bnlab_says)[run.name]
    size = (run / "metrics.jsonl").stat().st_size
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(change(lines)))
    now = (run / "metrics.jsonl").stat().st_size
    assert 2000 < now != size
    problem = f"metrics.jsonl has {now} bytes, and had {size} after training"
    assert rows_of(bnlab_says)[run.name]["problem"] == problem
    answer = bnlab_says("train", *WORDS, "seed=0", "--json")
    assert f"{problem}. The result is that of metrics.jsonl." in answer.err


@pytest.mark.parametrize("name", ["summary.json", "manifest.json", "metrics.jsonl"])
def test_a_file_that_is_missing_is_named(bnlab_says: Say, run: Path, name: str) -> None:
    (run / name).unlink()
    assert f"{name} is missing" in rows_of(bnlab_says)[run.name]["problem"]


def test_a_copied_run_is_named_and_never_taken_for_the_run_of_its_name(bnlab_says: Say, run: Path) -> None:
    copy = run.with_name(run.name.replace("-s0-", "-s7-"))
    shutil.copytree(run, copy)
    assert f"manifest.json is that of {run.name}" in rows_of(bnlab_says)[copy.name]["problem"]
    assert bnlab_says("rerun", str(copy)).status == 2


def test_settings_that_the_name_of_the_run_denies_are_named(bnlab_says: Say, run: Path) -> None:
    manifest = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(manifest.replace('"lr": 0.1', '"lr": 0.5'))
    assert "other settings than the run's name" in rows_of(bnlab_says)[run.name]["problem"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"overrides": 1, "runs": []}', "{", "null"])
def test_a_damaged_plan_of_a_sweep_is_named(bnlab_says: Say, run: Path, content: str) -> None:
    (run.parent / "sweep.json").write_text(content)
    answer = bnlab_says("list", "runs")
    assert answer.status == 0
    assert "sweep.json" in answer.err
    assert "Its plan is taken from the runs that are there" in answer.err


@pytest.mark.parametrize("again", [(), ("--again",)])
@pytest.mark.parametrize("name", ["notes", "notes.txt", "figures/notes"])
def test_training_again_is_refused_before_anything_of_the_users_is_removed(
    bnlab_says: Say, run: Path, name: str, again: tuple[str, ...]
) -> None:
    if not again:
        keep_half(run)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).mkdir() if name == "notes" else (run / name).touch()
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    answer = bnlab_says("train", *WORDS, "seed=0", *again)
    assert answer.status == 2
    assert f"holds what bnlab did not write, and training again would remove it: {Path(name)}. " in answer.err
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert (run / name).exists()


def test_a_folder_that_cannot_be_entered_is_one_row_that_says_so(
    bnlab_says: Say, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = run.parents[1] / "locked"
    locked.mkdir()
    _lock(locked, monkeypatch)
    rows = {row["run_id"]: row for row in json.loads(bnlab_says("list", "runs", "--json").out)}
    assert "manifest.json cannot be read: Permission denied" in rows["locked"]["problem"]
    assert "problem" not in rows[run.name]
    for words in (("show", run.name, "--no-figures"), ("compare", "mine", "--no-figures")):
        assert bnlab_says(*words).status == 0
    answer = bnlab_says("show", str(locked))
    assert answer.status == 2
    assert "cannot be read: Permission denied" in answer.err
    locked.rmdir()


def _lock(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder one that may not be entered; permissions would not keep root out."""
    import builtins  # noqa: PLC0415
    import io  # noqa: PLC0415
    import os  # noqa: PLC0415

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and Path(path).is_relative_to(locked):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return called

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(builtins, "open", refusing(open))
    monkeypatch.setattr(io, "open", refusing(io.open))


def test_names_reach_the_terminal_without_control_characters_and_markup(bnlab_says: Say, run: Path) -> None:
    name = "\x1b[31m[bold]red :x: [x]"
    shutil.copytree(run, run.with_name(name))
    manifest = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(
        manifest.replace('"none"', '"n"').replace('"status": "finished"', '"status": "[/]"')
    )
    for words in (("list", "runs", "mine"), ("show", str(run.with_name(name)), "--no-figures")):
        answer = bnlab_says(*words)
        assert answer.status == 0
        assert "\x1b" not in answer.out + answer.err
        assert "[bold]red :x: [x]" in answer.out


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.yaml", lambda _: "[" * 10_000),
        ("config.yaml", lambda _: "- 1"),
        ("config.yaml", lambda text: text.replace("width: 8", "width: 16")),
        ("manifest.json", lambda text: text.replace('"input_shape"', '"other"')),
        ("manifest.json", lambda _: "null"),
    ],
)
def test_the_model_of_a_damaged_run_is_refused_in_a_sentence(
    run: Path, name: str, damage: Callable[[str], str]
) -> None:
    text = (run / name).read_text()
    (run / name).write_text(damage(text))
    assert damage(text) != text
    with pytest.raises(RunError):
        bnlab.load_model(run)


def test_what_is_no_folder_is_no_folder_of_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    for path in (tmp_path / "runs", tmp_path / ("x" * 5000)):
        with pytest.raises(ConfigError, match="is not a folder of runs"):
            find_run_folders(path)
