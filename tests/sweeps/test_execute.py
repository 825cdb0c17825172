"""Sweeps that go wrong on the way: what is done stays done, and the same call again does the rest."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_backend import FakeBackend

from bnlab.experiment.cohort_run import run_experiment
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.backends.local import LocalBackend, end_workers
from bnlab.sweeps.execute import SweepResult, execute, run_sweep
from bnlab.sweeps.plan import plan_sweep, prepared
from bnlab.sweeps.progress import Say
from bnlab.training.interruption import Interruption

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]
TROUBLE = ["norm=none,troubled_norms:Troubled", "norm.trouble=trouble.txt"]


@pytest.fixture(scope="module", autouse=True)
def _no_worker_left() -> Iterator[None]:
    yield
    end_workers()


@pytest.fixture(autouse=True)
def _norms_in_reach() -> None:
    shutil.copy(Path(__file__).with_name("troubled_norms.py"), Path.cwd())


def counts(result: SweepResult) -> Counter[str]:
    return Counter(summary.status for summary in result.summaries)


def sweep(*words: str, **options: object) -> SweepResult:
    planned = prepared(plan_sweep([*QUICK, *words]))
    return execute(planned, planned.missing(), **options)  # type: ignore[arg-type]


def backend_for(jobs: int) -> LocalBackend | None:
    """Return what trains the parts for so many jobs: several are trained by one worker, as each imports torch anew."""
    return LocalBackend(1) if jobs > 1 else None


def metrics() -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path("runs/s").glob("*/metrics.jsonl")}


def test_the_same_sweep_again_trains_only_what_is_missing() -> None:
    words = [*QUICK, "norm=none", "seed=0,1,2", "sweep.engine=sequential"]
    assert counts(run_sweep(words, jobs=1)) == {"finished": 3}
    kept = metrics()
    gone, *others = sorted(Path("runs/s").glob("none*"))
    shutil.rmtree(gone)
    written = [(path / "metrics.jsonl").stat() for path in others]
    again = run_sweep(words, jobs=1)
    assert {summary.run_id: summary.cached for summary in again.summaries} == {
        name: name != gone.name for name in metrics()
    }
    assert metrics() == kept
    assert [(path / "metrics.jsonl").stat() for path in others] == written


def trained_by_one_process(*words: str) -> dict[str, bytes]:
    run_sweep([*QUICK, *words], jobs=1)
    alone = metrics()
    shutil.rmtree("runs")
    return alone


def test_runs_that_are_trained_by_a_worker_equal_those_of_one_process() -> None:  # the one of its family that is quick
    words = ["norm=batch,none", "sweep.engine=sequential"]
    alone = trained_by_one_process(*words)
    assert counts(sweep(*words, backend=LocalBackend(1))) == {"finished": 2}
    assert metrics() == alone
    assert not list(Path("runs/s").glob(".parts*"))


@pytest.mark.slow
def test_a_run_that_kills_its_worker_is_given_up_and_the_others_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.sweeps.run_states.MOST_DEATHS", 1)  # each death costs the import of torch
    Path("trouble.txt").write_text("kill")
    words = ["norm=troubled_norms:Troubled,none", "norm.trouble=trouble.txt", "sweep.engine=sequential"]
    result = sweep(*words, backend=LocalBackend(1))  # before a run whose part ends with its own at first
    assert counts(result) == {"finished": 1, "interrupted": 1}
    assert all("its worker was lost" in reason for reason in result.reasons.values())
    Path("trouble.txt").unlink()
    assert counts(sweep(*words, jobs=1)) == {"finished": 2}


@pytest.mark.slow
def test_runs_that_are_trained_by_workers_in_cohorts_equal_those_of_one_process() -> None:
    words = ["norm=batch,none", "seed=0,1"]
    alone = trained_by_one_process(*words)
    assert counts(sweep(*words, jobs=2, backend=LocalBackend(1))) == {"finished": 4}  # by one worker, which is there
    assert metrics() == alone
    assert not list(Path("runs/s").glob(".parts*"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_run_stops_no_other_and_is_tried_again_by_the_next_call(jobs: int) -> None:
    Path("trouble.txt").write_text("raise")
    result = sweep(*TROUBLE, "seed=0,1", jobs=jobs, backend=backend_for(jobs))
    assert counts(result) == {"finished": 2, "failed": 2}
    assert len(result.reasons) == 2
    assert all("ArithmeticError: two and two are five" in reason for reason in result.reasons.values())
    for name in result.reasons:
        assert "Traceback" in RunFolder(result.folder / name).log_path.read_text()
    Path("trouble.txt").unlink()
    assert counts(sweep(*TROUBLE, "seed=0,1", jobs=jobs, backend=backend_for(jobs))) == {"finished": 4}


def test_asked_to_stop_at_a_failure_it_begins_no_other_run() -> None:
    Path("trouble.txt").write_text("raise")
    result = sweep("norm=troubled_norms:Troubled", "norm.trouble=trouble.txt", "seed=range(4)", jobs=1, on_error="stop")
    assert counts(result) == {"failed": 1, "interrupted": 3}
    assert [path.name for path in Path("runs/s").glob("Troubled*")] == [result.summaries[0].run_id]


@pytest.mark.parametrize(("num_failures", "ended"), [(1, {"finished": 1}), (2, {"failed": 1})])
def test_asked_to_stop_at_a_failure_it_does_so_when_the_run_has_been_tried_again(
    num_failures: int, ended: dict[str, int]
) -> None:
    Path("trouble.txt").write_text("raise")
    said: list[str] = []

    class View:
        def take(self, line: dict[str, object]) -> None:
            if "failed" in line:
                said.append(str(line["reason"]))
                if len(said) == num_failures:
                    Path("trouble.txt").unlink()

    words = ["norm=troubled_norms:Troubled", "norm.trouble=trouble.txt"]
    assert counts(sweep(*words, jobs=1, on_error="stop", retries=1, view=View())) == ended
    assert len(said) == num_failures


def test_a_run_that_fails_is_tried_again_as_often_as_asked() -> None:
    Path("trouble.txt").write_text("raise")
    said: list[str] = []

    class View:
        def take(self, line: dict[str, object]) -> None:
            if "failed" in line:
                said.append(str(line["reason"]))
                if len(said) == 2:
                    Path("trouble.txt").unlink()

    result = sweep("norm=troubled_norms:Troubled", "norm.trouble=trouble.txt", jobs=1, retries=2, view=View())
    assert counts(result) == {"finished": 1}
    assert len(said) == 2


def test_a_run_that_fails_when_it_is_trained_anew_is_tried_once_and_keeps_its_result_and_the_reason() -> None:
    words = [*QUICK, "norm=troubled_norms:Troubled", "norm.trouble=trouble.txt", "seed=0,1"]
    execute(prepared(plan_sweep(words)), plan_sweep(words).missing(), jobs=1)
    kept = metrics()
    Path("trouble.txt").write_text("raise")
    tries: list[object] = []

    class View:
        def take(self, line: dict[str, object]) -> None:
            tries.append(line.get("failed", []))

    planned = prepared(plan_sweep(words))
    result = execute(planned, planned.missing(again=True), jobs=1, again=True, view=View())
    assert sorted(name for names in tries for name in names) == sorted(planned.configs)  # type: ignore[attr-defined]
    assert counts(result) == {"finished": 2}
    assert metrics() == kept
    assert set(result.reasons) == set(planned.configs)
    for name, reason in result.reasons.items():
        assert "two and two are five" in reason
        assert "Traceback" in planned.run_folder(name).log_path.read_text()


def test_a_run_that_fails_and_then_kills_its_worker_each_time_is_given_up() -> None:
    planned = prepared(plan_sweep([*QUICK, "sweep.engine=sequential", "seed=0,1"]))
    names = list(planned.configs)

    def happens(runs: list[str], say: Say) -> str | None:
        say({"failed": runs, "reason": "it failed"} if len(backend.batches) == 1 else {"steps": dict.fromkeys(runs, 1)})
        return None if len(backend.batches) == 1 else "it was killed"

    backend = FakeBackend(happens)
    result = execute(planned, names, jobs=2, retries=1, backend=backend)
    assert result.reasons == dict.fromkeys(names, "its worker was lost: it was killed")


def test_of_several_suspects_each_is_trained_alone_and_the_one_that_kills_its_worker_is_given_up() -> None:
    planned = prepared(plan_sweep([*QUICK, "sweep.engine=sequential", "norm=none", "seed=0,1,2"]))
    killer, *others = planned.configs

    def happens(runs: list[str], say: Say) -> str | None:
        say({"steps": dict.fromkeys(runs, 1)})
        if len(backend.batches) == 1 or runs == [killer]:  # at first the workers of all runs are killed with it
            return "it was killed"
        for name in runs:
            run_experiment(planned.configs[name], planned.run_folder(name))
        return None

    backend = FakeBackend(happens)
    result = execute(planned, list(planned.configs), jobs=3, backend=backend)
    assert backend.batches[0] == [[name] for name in planned.configs]
    assert backend.batches[1:] == [[[killer]], [[others[0]]], [[others[1]]], [[killer]]]
    assert counts(result) == {"finished": 2, "interrupted": 1}
    assert result.reasons == {killer: "its worker was lost: it was killed"}


def test_after_the_death_of_a_worker_a_run_left_alone_is_not_trained_in_the_process_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned = prepared(plan_sweep([*QUICK, "sweep.engine=sequential", "norm=none", "seed=0,1"]))
    killer, untouched = planned.configs

    def happens(runs: list[str], say: Say) -> str | None:
        if runs == [killer]:
            say({"steps": {killer: 1}})
        return "it was killed" if len(backend.batches) == 1 or runs == [killer] else None

    backend = FakeBackend(happens)
    monkeypatch.setattr("bnlab.sweeps.execute.open_backend", lambda *_: backend)
    execute(planned, list(planned.configs), jobs=2)
    assert backend.batches[:2] == [[[killer], [untouched]], [[untouched]]]


def test_a_run_that_kills_its_worker_before_it_tells_of_a_step_is_found_and_the_others_finish() -> None:
    planned = prepared(plan_sweep([*QUICK, "sweep.engine=sequential", "norm=none", "seed=0,1,2"]))
    killer, *others = planned.configs

    def happens(runs: list[str], say: Say) -> str | None:  # noqa: ARG001  (it dies too soon)
        if killer in runs:
            planned.run_folder(killer).path.mkdir(parents=True, exist_ok=True)
            planned.run_folder(killer).write_manifest({"status": "running", "started": str(len(backend.batches))})
        if killer in runs or len(backend.batches) == 1:  # at first the workers of all runs are killed with it
            return "it was killed"
        for name in runs:
            run_experiment(planned.configs[name], planned.run_folder(name))
        return None

    backend = FakeBackend(happens)
    result = execute(planned, list(planned.configs), jobs=3, backend=backend)
    assert backend.batches[1:] == [[[name] for name in others], [[killer]], [[killer]]]
    assert counts(result) == {"finished": 2, "interrupted": 1}
    assert result.reasons == {killer: "its worker was lost: it was killed"}


def test_a_sweep_whose_parts_do_not_begin_ends_with_the_reason() -> None:
    planned = prepared(plan_sweep([*QUICK, "norm=none", "seed=0,1"]))
    backend = FakeBackend(lambda _, __: "no such partition")
    result = execute(planned, list(planned.configs), backend=backend)
    assert result.reasons == dict.fromkeys(planned.configs, "it could not begin: no such partition")
    assert len(backend.batches) == 2


def test_a_run_that_was_stopped_by_a_signal_to_its_worker_is_submitted_again_and_does_not_count_as_a_death() -> None:
    planned = prepared(plan_sweep([*QUICK, "norm=none", "seed=0"]))
    (name,) = planned.configs

    def happens(runs: list[str], say: Say) -> str | None:
        say({"steps": dict.fromkeys(runs, 1)})
        if len(backend.batches) < 5:
            planned.run_folder(name).path.mkdir(parents=True, exist_ok=True)
            planned.run_folder(name).write_manifest({"status": "interrupted", "started": str(len(backend.batches))})
            say({"ended": {"run_id": name, "status": "interrupted"}})
            return "it was killed"
        run_experiment(planned.configs[name], planned.run_folder(name))
        return None

    backend = FakeBackend(happens)
    assert counts(execute(planned, [name], backend=backend)) == {"finished": 1}
    assert len(backend.batches) == 5


@pytest.mark.parametrize("ends", ["asked", KeyboardInterrupt, ZeroDivisionError])
def test_a_sweep_that_is_cut_off_cancels_its_parts(ends: "str | type[BaseException]") -> None:
    planned = prepared(plan_sweep([*QUICK, "sweep.engine=sequential", "norm=none", "seed=0,1,2"]))
    interruption = Interruption()

    def happens(_: list[str], __: Say) -> str | None:
        if isinstance(ends, str):
            interruption.is_asked = True
            return "it was killed"
        raise ends

    backend = FakeBackend(happens)
    with contextlib.nullcontext() if isinstance(ends, str) else pytest.raises(ends):
        execute(planned, list(planned.configs), jobs=3, interruption=interruption, backend=backend)
    assert backend.cancelled == [not isinstance(ends, str)]
    assert len(backend.batches) == 1
    assert not list(Path("runs/s").glob(".parts*"))


@pytest.mark.slow
def test_only_those_that_failed_are_trained_if_that_is_asked() -> None:
    Path("trouble.txt").write_text("raise")
    words = [*QUICK, *TROUBLE, "seed=0,1"]
    execute(prepared(plan_sweep(words)), plan_sweep(words).missing(), jobs=1)
    shutil.rmtree(next(Path("runs/s").glob("none*")))
    Path("trouble.txt").unlink()
    assert len(plan_sweep(words).missing()) == 3
    assert len(plan_sweep(words).missing(only="failed")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("gone", [BrokenPipeError, SystemExit, ZeroDivisionError])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_view_that_nobody_sees_any_more_ends_neither_the_sweep_nor_the_watch(
    gone: type[BaseException], jobs: int
) -> None:
    class View:
        def take(self, _: dict[str, object]) -> None:
            raise gone

    Path("trouble.txt").write_text("raise")
    result = sweep(*TROUBLE, "seed=0,1", jobs=jobs, view=View(), backend=backend_for(jobs))
    assert counts(result) == {"finished": 2, "failed": 2}
    assert all("Troubled" in name for name in result.reasons)
    assert len(result.reasons) == 2


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_waited_for() -> None:
    planned = prepared(plan_sweep([*QUICK, "seed=0,1"]))
    first, _ = planned.configs
    told: list[object] = []

    class View:
        def take(self, line: dict[str, object]) -> None:
            told.append(line)
            if ("ended" in line or "busy" in line) and other.is_locked():
                lock.__exit__(None, None, None)  # the other one dies, and its run becomes free

    other = RunFolder(planned.folder / first)
    lock = other.locked()
    lock.__enter__()
    result = execute(planned, planned.missing(), jobs=1, view=View())
    assert counts(result) == {"finished": 2}


@pytest.mark.slow
def test_ctrl_c_asks_for_a_checkpoint_while_a_sweep_is_trained_and_not_behind_it() -> None:
    interruption, seen = Interruption(), []

    class View:
        def take(self, line: dict[str, object]) -> None:  # noqa: ARG002
            seen.append(interruption.is_training)

    sweep("seed=0", jobs=1, view=View(), interruption=interruption)
    assert any(seen)
    assert not interruption.is_training  # a study that is judged makes no steps: nobody would see the request


@pytest.mark.slow
def test_a_cohort_that_was_cut_off_goes_on_as_it_was_when_the_sweep_has_grown() -> None:
    words = ["model.width=8", "train.checkpoint_every=5", "sweep.engine=vectorized"]
    sweep(*words, "seed=0,1,2", jobs=1)
    whole = metrics()
    shutil.rmtree("runs")
    interruption = Interruption()

    class View:
        def take(self, line: dict[str, object]) -> None:
            interruption.is_asked |= "steps" in line

    assert counts(sweep(*words, "seed=0,1,2", jobs=1, view=View(), interruption=interruption)) == {"interrupted": 3}
    assert counts(sweep(*words, "seed=range(5)", jobs=1)) == {"finished": 5}
    manifests = {name: RunFolder(Path("runs/s") / name).read_manifest() for name in metrics()}
    assert [len(manifest["cohort"]["runs"]) for _, manifest in sorted(manifests.items())] == [3, 3, 3, 5, 5]
    assert all(manifests[name]["resumed"] for name in whole)
    assert {name: metrics()[name] for name in whole} == whole


@pytest.mark.slow
def test_a_run_that_was_cut_off_alone_goes_on_so_before_it_may_be_trained_with_others() -> None:
    words = ["train.checkpoint_every=5", "norm=none", "seed=0,1,2"]
    interruption = Interruption()

    class View:
        def take(self, line: dict[str, object]) -> None:
            interruption.is_asked |= "steps" in line

    sweep(*words, "sweep.engine=sequential", jobs=1, view=View(), interruption=interruption)
    (cut_off,) = [path.parent.name for path in Path("runs/s").glob("none*/checkpoint.pt")]
    planned = prepared(plan_sweep([*QUICK, *words]))
    together = list(planned.configs)
    assert [list(cohort.run_ids) for cohort in planned.cohorts] == [together]
    assert [cohort.run_ids for cohort in planned.cut_off] == [(cut_off,)]
    assert prepared(plan_sweep([*QUICK, *words]), again=True).cut_off == []

    def happens(runs: list[str], say: Say) -> str | None:
        if runs == [cut_off]:
            run_experiment(planned.configs[cut_off], planned.run_folder(cut_off))
        else:
            say({"failed": runs, "reason": "two and two are five"})
        return None

    backend = FakeBackend(happens)
    assert counts(execute(planned, planned.missing(), backend=backend)) == {"finished": 1, "failed": 2}
    assert backend.batches == [[[cut_off]], [together]]
    assert planned.run_folder(cut_off).read_manifest()["resumed"]


@pytest.mark.slow
def test_a_run_that_is_wanted_alone_does_not_overwrite_what_was_cut_off() -> None:
    words = ["train.checkpoint_every=5", "norm=none", "seed=0,1,2"]
    interruption = Interruption()

    class View:
        def take(self, line: dict[str, object]) -> None:
            interruption.is_asked |= "steps" in line

    sweep(*words, "sweep.engine=sequential", jobs=1, view=View(), interruption=interruption)
    (cut_off,) = [path.parent for path in Path("runs/s").glob("none*/checkpoint.pt")]
    planned = prepared(plan_sweep([*QUICK, *words]))
    execute(planned, [next(name for name in planned.configs if name != cut_off.name)], jobs=1)
    assert RunFolder(cut_off).read_manifest()["resumed"]
