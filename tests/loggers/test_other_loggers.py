"""CSV, MLflow, W&B and Trackio: what they keep of a run, and that no failure of theirs reaches the training."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from interrupted_runs import Notes, train_until
from read_back import READERS, assert_same, expected, mlflow_runs, wandb_records

import bnlab
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member
from bnlab.loggers import guarded
from bnlab.loggers.guarded import KINDS
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import LoggerName
from bnlab.sweeps.grid import expand

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, which are not ours to mend

QUICK = [
    *["data=synthetic", "train.steps=26", "train.log_every=5", "train.eval_every=9", "train.checkpoint_every=4"],
    *["model.width=8", "model.depth=2", "accept=[statistics_not_settled]"],
]
DIVERGES = ["norm=none", "optim.lr=1e20", "train.log_every=1"]
Say = Callable[..., Any]

each_logger = pytest.mark.parametrize(
    "name", ["csv", *(pytest.param(n, marks=pytest.mark.slow) for n in list(KINDS)[1:])]
)


@functools.cache
def empty_database() -> Path:
    """A database of MLflow's without runs, which takes seconds to make."""
    from mlflow import MlflowClient  # noqa: PLC0415  (an extra)

    path = Path(tempfile.mkdtemp(prefix="bnlab-mlflow-")) / "mlflow.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def needs(name: str, runs: str = "runs") -> None:
    if KINDS[name].library is not None:
        pytest.importorskip(KINDS[name].library)
    if name == "mlflow" and not (Path(runs) / "mlflow.db").exists():
        Path(runs).mkdir(exist_ok=True)
        shutil.copy(empty_database(), Path(runs) / "mlflow.db")


def train(name: str, *words: str, runs: str = "runs") -> Path:
    needs(name, runs)
    return Path(bnlab.train([*QUICK, f"loggers=[{name}]", *words], runs=runs).folder)


def test_the_schema_names_the_loggers_that_there_are() -> None:
    assert set(get_args(LoggerName)) == {"tensorboard", *KINDS}


@each_logger
@pytest.mark.parametrize("words", [[], DIVERGES], ids=["finishes", "diverges"])
def test_a_logger_has_every_value_once_under_the_tags_of_tensorboard(name: str, words: list[str]) -> None:
    folder = train(name, *words)
    wanted = expected(folder)
    assert {"train/loss", "eval/accuracy", "speed/samples_per_s"} <= set(wanted)
    assert_same(READERS[name](folder), wanted)


@each_logger
def test_a_resumed_run_is_whole_and_stands_there_once(name: str, tmp_path: Path) -> None:
    needs(name)
    config = compose_run([*QUICK, f"loggers=[{name}]"])
    folder = RunFolder(tmp_path / "runs" / "cut" / "a_run")
    train_until(18, config, folder)
    assert READERS[name](folder.path)["eval/loss"].keys() == {0, 9, 18}
    train_until(100, config, folder)
    assert folder.read_manifest()["resumed"][0]["step"] == 16
    assert_same(READERS[name](folder.path), expected(folder.path))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_runs_of_a_cohort_are_kept_apart(name: str, tmp_path: Path) -> None:
    needs(name)
    configs = [compose_run([*QUICK, f"loggers=[{name}]", f"seed={seed}"]) for seed in (0, 1)]
    folders = [RunFolder(tmp_path / "runs" / "both" / f"s{config.seed}") for config in configs]
    run_cohort([Member(*one) for one in zip(configs, folders, strict=True)], "vectorized")
    for folder in folders:
        assert_same(READERS[name](folder.path), expected(folder.path))
    assert READERS[name](folders[0].path)["train/loss"] != READERS[name](folders[1].path)["train/loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_again_takes_the_place_of_the_run(name: str) -> None:
    train(name)
    folder = train(name, "train.steps=26")
    again = Path(bnlab.train([*QUICK, f"loggers=[{name}]"], again=True).folder)
    assert again == folder.absolute()
    assert_same(READERS[name](again), expected(again))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_records_have_the_same_bytes_with_a_logger_and_without(name: str) -> None:
    without, folder = train("csv", "loggers=[]", runs="without"), train(name)
    assert (folder / "metrics.jsonl").read_bytes() == (without / "metrics.jsonl").read_bytes()
    assert folder.name == without.name


class FailsAt:
    """A logger whose library breaks at a step; at -1, when it is opened."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.taken: list[int] = []

    def __call__(self, run: object) -> "FailsAt":  # noqa: ARG002
        if self.step < 0:
            raise ImportError("a library of its own is missing\nat length")
        return self

    def take(self, record: Any) -> None:
        self.taken.append(record.step)
        if record.step >= self.step:
            raise OSError("no route to the server")

    def close(self, summary: object) -> None:  # noqa: ARG002
        if self.step == 10**6:
            raise RuntimeError("cannot close")


class Told(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[tuple[str, str]] = []

    def on_trouble(self, logger: str, text: str) -> None:
        self.troubles.append((logger, text))


@pytest.mark.parametrize("at", [-1, 9, 10**6], ids=["when opened", "in the middle", "when closed"])
def test_a_logger_that_fails_costs_no_record_and_is_told_of_once(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FailsAt(at)
    monkeypatch.setattr(guarded, "import_kind", lambda _: type("module", (), {"CsvLogger": broken}))
    configs = [compose_run([*QUICK, "loggers=[csv]", "diagnostics=none", f"seed={seed}"]) for seed in (0, 1)]
    folders = [RunFolder(tmp_path / f"{config.seed}") for config in configs]
    told = Told()
    results = run_cohort([Member(*one) for one in zip(configs, folders, strict=True)], "vectorized", observer=told)
    assert [result.status for result in results] == ["finished", "finished"]
    ((logger, text),) = told.troubles
    assert logger == "csv"
    assert "Training goes on, nothing is lost: bnlab export 0 --to csv" in text
    assert "\n" not in text
    steps = [record["step"] for record in folders[1].read_records()]
    assert steps[-1] == 26
    assert text in folders[0].log_path.read_text()
    if at == 9:
        assert broken.taken.count(9) == 2  # once by each run, and never again
        assert max(broken.taken) == 9


def test_bnlab_train_in_python_warns_of_a_logger_that_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guarded, "import_kind", lambda _: type("module", (), {"CsvLogger": FailsAt(9)}))
    assert bnlab.train([*QUICK, "loggers=[csv]", "diagnostics=none"]).status == "finished"
    assert "csv failed at step 9 and is left out" in caplog.text


def test_a_missing_library_is_said_before_any_folder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"loggers=mlflow needs the package mlflow.*: pip install 'bnlab\[mlflow\]'"):
        bnlab.train([*QUICK, "loggers=[tensorboard,mlflow]"])
    assert not Path("runs").exists()


def test_a_folder_with_a_librarys_name_is_not_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("no_such_library").mkdir()
    monkeypatch.syspath_prepend(Path.cwd())
    assert not guarded._is_installed("no_such_library")
    assert guarded._is_installed("yaml")


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_for_a_logger_and_export_is_named(bnlab_says: Say) -> None:
    words = ["train", *QUICK, "diagnostics=none", "--json"]
    first = json.loads(bnlab_says(*words).out)
    again = bnlab_says(*words, "loggers=[csv,tensorboard]")
    assert json.loads(again.out) == {**first, "cached": True}
    assert f"{first['run_id']} was trained without loggers=[csv]" in again.err.replace("\n", "")
    assert not (Path(first["folder"]) / "metrics.csv").exists()
    assert bnlab_says("export", first["folder"], "--to", "csv").status == 0


@pytest.mark.slow
def test_a_sweep_has_the_same_folder_with_a_new_logger() -> None:
    words = ["norm=batch,none", "seed=0"]
    assert expand(words).name == expand([*words, "loggers=[mlflow,csv]"]).name
    assert expand(words).name != expand([*words, "loggers=[]"]).name  # as in earlier versions


@pytest.mark.slow
def test_mlflow_has_settings_status_note_and_sweep() -> None:
    folder = train("mlflow", "name=my_sweep", *DIVERGES)
    (run,) = mlflow_runs(folder)
    assert (run["experiment"], run["status"]) == ("my_sweep", "FAILED")
    assert run["tags"]["bnlab.status"] == "diverged"
    assert run["params"]["optim.lr"] == "1e+20"
    assert run["params"]["norm"] == "none"
    assert run["end_time"] >= run["start_time"] > 10**12


@pytest.mark.slow
def test_wandb_has_settings_and_group_and_stays_offline() -> None:
    folder = train("wandb", "name=my_sweep")
    records = wandb_records(folder)
    (run,) = [one.run for one in records if one.WhichOneof("record_type") == "run"][:1]
    assert (run.run_group, run.display_name, run.project) == ("my_sweep", folder.name, "bnlab")
    assert (folder / "wandb").is_dir()
    assert not Path("wandb").exists()


@pytest.mark.slow
def test_workers_write_to_one_store_at_the_same_time(bnlab_says: Say) -> None:
    pytest.importorskip("mlflow")  # the workers make the database
    pytest.importorskip("trackio")
    words = [
        *QUICK,
        "loggers=[mlflow,trackio]",
        "norm=batch,none",
        "seed=range(3)",
        "name=many",
        "sweep.engine=sequential",
    ]
    answer = bnlab_says("sweep", *words, "--jobs", "2", "--json", "--runs", "runs")
    assert answer.status == 0
    assert "warning" not in answer.err
    folders = [Path(json.loads(line)["folder"]) for line in answer.out.splitlines()]
    assert len(folders) == 6
    for folder in folders:
        for name in ("mlflow", "trackio"):
            assert_same(READERS[name](folder), expected(folder))


def test_progress_is_shown_on_standard_error_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, "loggers=[]", "diagnostics=none"]
    bnlab.train(words)
    assert capfd.readouterr().err == ""
    bnlab.train(words, again=True, progress=True)
    captured = capfd.readouterr()
    assert "step 26/26" in captured.err
    assert captured.out == ""
