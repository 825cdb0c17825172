"""Trains parts by tasks of a Ray cluster."""

import contextlib
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bnlab.sweeps.backends.backend import END_WITHIN_S, PartEnded, in_one_line
from bnlab.sweeps.worker import train_part


class RayBackend:
    """Trains each part by a task of Ray's.

    Ray itself begins a task again, up to ``max_retries`` times, when its worker or its machine is lost.

    Args:
        settings: ``init`` for the arguments of ``ray.init``, ``remote`` for those of ``ray.remote``, as in
            conf/hydra/launcher/ray.yaml.
    """

    has_process_per_part: ClassVar[bool] = False

    def __init__(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = settings
        self._tasks: dict[Any, Path] = {}
        self._not_submitted: list[PartEnded] = []
        self._session = contextlib.ExitStack()

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; see `Backend`. Where there is no cluster, they end with that reason."""
        import ray  # noqa: PLC0415  (an extra, and it takes a second)

        try:
            self._begin_session()
            options = dict(self._settings.get("remote") or {})
            task = ray.remote(**options)(train_part) if options else ray.remote(train_part)
            self._tasks.update({task.remote(part): part for part in parts})
        except Exception as error:
            self._not_submitted += [PartEnded(part, in_one_line(error)) for part in parts]

    def watch(self, timeout_s: float) -> list[PartEnded]:
        """Return the parts that have ended; see `Backend`."""
        import ray  # noqa: PLC0415

        ended, self._not_submitted = self._not_submitted, []
        if self._tasks and not ended:
            done, _ = ray.wait(list(self._tasks), timeout=timeout_s)
            ended = [PartEnded(self._tasks.pop(task), _death(ray, task)) for task in done]
        return ended

    def cancel(self, *, at_once: bool = False) -> None:  # noqa: ARG002
        """End all tasks that are left; see `Backend`. Those that do not end in time are killed."""
        import ray  # noqa: PLC0415

        if self._tasks:
            _, left = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=END_WITHIN_S)
            for task in left:
                ray.cancel(task, force=True)
        self._tasks.clear()
        self.close()

    def close(self) -> None:
        """End the session, and with it all tasks; a session that was there before stays."""
        self._session.close()

    def _begin_session(self) -> None:
        """Connect to the cluster.

        Ray prints messages of its own, which go to standard error: standard output is for results. And it brings two
        handlers that end the process at a SIGTERM: put ours back.
        """
        import ray  # noqa: PLC0415

        if ray.is_initialized():
            return
        handler = signal.getsignal(signal.SIGTERM)
        self._session.enter_context(contextlib.redirect_stdout(sys.stderr))
        self._session.callback(ray.shutdown)
        ray.init(**(self._settings.get("init") or {}))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _death(ray: Any, task: Any) -> str | None:
    """Return why a task died, which is the last line of a traceback; None: it did what it had to do."""
    try:
        ray.get(task)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return None
