"""A job of a real Slurm cluster whose time is up: two minutes, in a file of its own, which others need not wait for."""

import signal
from pathlib import Path

import pytest
import sweeping

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("slurm")]


def test_a_job_whose_time_is_up_goes_on_from_its_checkpoint() -> None:
    words = [*sweeping.LONG, "seed=0"]  # longer than any time limit: what was recorded so far is compared
    whole = sweeping.start("--jobs", "1", "--runs", "whole", *words)
    # Slurm looks every 30 s, and tells of what is to come before the next look: after 15 to 45 s of these 120
    sweep = sweeping.start(
        "hydra/launcher=slurm", "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=75", *words
    )
    sweeping.wait_for(lambda: any(map(sweeping.times_resumed, Path("runs/s").glob("*-s0-*"))), "out of time")
    (cut,) = sweeping.metrics().values()
    enough = len(cut) + 10_000  # bytes: a hundred records after the one at which it was taken up
    for runs in (Path("runs/s"), Path("whole/s")):
        sweeping.wait_for(lambda runs=runs: len(*sweeping.metrics(runs).values()) > enough, "further records")
    for process in (sweep, whole):
        process.send_signal(signal.SIGTERM)
        sweeping.end(process, 143)
    (recorded,), (uncut,) = sweeping.metrics().values(), sweeping.metrics(Path("whole/s")).values()
    assert recorded[:enough] == uncut[:enough]
