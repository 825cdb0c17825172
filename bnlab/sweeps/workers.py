"""The processes that joblib keeps from one launch to the next: begun while a sweep is planned, ended at once."""

import contextlib
import dataclasses
import importlib
import signal
import threading
import time

import joblib
import psutil

_NEEDED = ("bnlab.experiment.cohort_run", "bnlab.sweeps.launch")
"""What a worker imports, for two seconds, before it can train."""

_beginning: list[threading.Thread] = []


def begin_workers(num_jobs: int) -> None:
    """Begin the workers that Hydra's joblib launcher will use, and have them import what they need, meanwhile.

    Args:
        num_jobs: As the launcher will be told: else it begins others.
    """
    thread = threading.Thread(target=_import_in_workers, args=(num_jobs,), daemon=True)
    thread.start()
    _beginning.append(thread)


def _import_in_workers(num_jobs: int) -> None:
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf  # noqa: PLC0415  (Hydra takes 0.1 s)

    settings = {**dataclasses.asdict(JobLibLauncherConf(n_jobs=num_jobs)), "backend": "loky"}
    del settings["_target_"]
    if hasattr(signal, "pthread_sigmask"):  # what this thread begins is deaf to Ctrl-C from its birth
        _begin_watchers()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with contextlib.suppress(Exception):  # one that dies is missed at the launch, and replaced
        joblib.Parallel(**settings)(joblib.delayed(_import)() for _ in range(num_jobs))


def _begin_watchers() -> None:
    """Begin the processes that tidy up after joblib's and Python's: where these begin, they hear Ctrl-C again."""
    from multiprocessing import resource_tracker  # noqa: PLC0415  (Windows has none)

    from joblib.externals.loky.backend import resource_tracker as tracker_of_joblib  # noqa: PLC0415

    resource_tracker.ensure_running()
    tracker_of_joblib.ensure_running()


def _import() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep hears Ctrl-C, and tells them; a part has its own handler
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for name in _NEEDED:
        importlib.import_module(name)


def end_workers() -> None:
    """End the workers, if there are any, without waiting for them to tidy up: what they had to write is written."""
    while any(thread.is_alive() for thread in _beginning):  # joblib stumbles if it is ended while it hands out work
        kill_workers()
        time.sleep(0.01)
    _beginning.clear()
    if _workers():
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def kill_workers() -> None:
    """Kill those workers that there are at this moment, without a word to joblib."""
    for worker in _workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


def _workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if any("popen_loky" in word for word in process.cmdline()):
                found.append(process)
    return found
