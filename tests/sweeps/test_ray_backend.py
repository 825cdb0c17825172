"""Tasks of Ray's, without Ray: a session that begins and ends, and what is said of a task that died."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.backends.ray import RayBackend

PARTS = [Path("part-0.json"), Path("part-1.json")]


class FakeRay(SimpleNamespace):
    """Ray, with tasks that never begin: a test says how each of them ended."""

    def __init__(self) -> None:
        super().__init__(is_up=False, init_arguments=None, options=None, ended={}, cancelled=[])

    def is_initialized(self) -> bool:
        return bool(self.is_up)

    def init(self, **arguments: Any) -> None:
        print("Ray says hello")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.is_up, self.init_arguments = True, arguments

    def shutdown(self) -> None:
        self.is_up = False

    def remote(self, *function: Callable[..., Any], **options: Any) -> Any:
        if not function:
            self.options = options
            return lambda _: self.remote(print)
        return SimpleNamespace(remote=lambda part: f"task of {part}")

    def wait(self, tasks: list[str], num_returns: int = 1, timeout: float = 0.0) -> tuple[list[str], list[str]]:  # noqa: ARG002
        done = [task for task in tasks if task in self.ended][:num_returns]
        return done, [task for task in tasks if task not in done]

    def cancel(self, task: str, force: bool) -> None:
        assert force
        self.cancelled.append(task)

    def get(self, task: str) -> None:
        if self.ended[task] is not None:
            raise self.ended[task]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_parts_are_tasks_in_a_session_of_the_sweeps_own(ray: FakeRay, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    backend = RayBackend({"init": {"address": "auto"}, "remote": {"num_cpus": 1}})
    backend.submit(PARTS)
    assert (ray.init_arguments, ray.options) == ({"address": "auto"}, {"num_cpus": 1})
    assert signal.getsignal(signal.SIGTERM) is handler
    assert backend.watch(0) == []
    print("a message of Ray's")
    ray.ended["task of part-1.json"] = RuntimeError("ray::train_part() (pid=1)\n  File x\nKeyError: 'x'\n")
    assert backend.watch(0) == [PartEnded(PARTS[1], "KeyError: 'x'")]
    ray.ended["task of part-0.json"] = None
    assert backend.watch(0) == [PartEnded(PARTS[0], None)]
    backend.close()
    assert not ray.is_up
    print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_a_session_that_was_there_before_stays(ray: FakeRay) -> None:
    ray.is_up = True
    backend = RayBackend({"init": {"address": "auto"}, "remote": {}})
    backend.submit(PARTS)
    ray.ended["task of part-0.json"] = None
    backend.cancel()
    assert ray.cancelled == ["task of part-1.json"]
    assert backend.watch(60) == []
    assert ray.is_up
    assert ray.init_arguments is None


def test_where_there_is_no_cluster_parts_end_with_that_reason(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nSee above.")

    monkeypatch.setattr(ray, "init", refuse)
    backend = RayBackend({"init": {}, "remote": {}})
    backend.submit(PARTS)
    assert backend.watch(60) == [PartEnded(part, "Could not find any running Ray instance.") for part in PARTS]
    backend.close()
