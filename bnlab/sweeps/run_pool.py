"""Trains runs that are asked for one by one, as those of a search are, by any backend."""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.cohorts import plan_cohorts
from bnlab.sweeps.execute import MOST_DEATHS, MOST_REFUSALS
from bnlab.sweeps.parts import Part, halt_path
from bnlab.sweeps.parts_folder import PartsFolder
from bnlab.sweeps.progress import SweepView

LOOK_EVERY_S = 0.25
"""Seconds between two looks at the progress of the runs."""


class RunPool:
    """Trains runs, each as a part by itself.

    Args:
        sweep_folder: The folder in which the runs' folders lie.
        backend: Trains the parts.
        swept: The dotted keys in which the runs differ.
        began: A run counts as done if its training ended after this time, in the form of `provenance.now`; empty: at
            any time.
        retries: How often a run that failed is tried again at once.
        view: Shown each line of progress; None: nobody is told.

    Attributes:
        parts: The folder by which the workers and this process tell each other things.
        problems: Run id -> why the run has no result and is not trained any more.
        death: Why the last worker died, in one line; None: none has.
    """

    def __init__(
        self,
        sweep_folder: Path,
        backend: Backend,
        swept: list[str],
        began: str = "",
        retries: int = 0,
        view: SweepView | None = None,
    ) -> None:
        self.parts = PartsFolder(sweep_folder, self._take, view)
        self.problems: dict[str, str] = {}
        self.death: str | None = None
        self._sweep_folder = sweep_folder
        self._backend = backend
        self._swept = swept
        self._began = began
        self._retries = retries
        self._training: dict[Path, str] = {}
        self._failures: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._refusals = 0
        self._begun: set[str] = set()
        self._interrupted: set[str] = set()

    def folder_of(self, run: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self._sweep_folder / run)

    def is_done(self, run: str) -> bool:
        """Whether a run has its result."""
        folder = self.folder_of(run)
        return folder.read_finished() is not None and str(folder.read_manifest().get("ended", "")) >= self._began

    def has_begun(self, run: str) -> bool:
        """Whether the records in the folder of a run are those of this training, or of one that it continues."""
        manifest = self.folder_of(run).path / "manifest.json"
        return manifest.exists() and str(self.folder_of(run).read_manifest().get("started", "")) >= self._began

    @property
    def is_training(self) -> bool:
        """Whether any run is in training."""
        return bool(self._training)

    @property
    def is_refused(self) -> bool:
        """Whether the backend has failed again and again before any run began: it is not set up, or out of order."""
        return self._refusals >= MOST_REFUSALS

    def want(self, configs: Mapping[str, RunConfig]) -> None:
        """Train some runs, and stop others that are in training, with a checkpoint.

        A run that was in training when a worker died is trained alone, to find out which run it was that killed it.

        Args:
            configs: Run id -> config, of all runs that are wanted and have neither a result nor a problem.
        """
        for part, run in self._training.items():
            if run not in configs:
                halt_path(part).touch()
        in_training = set(self._training.values())
        if any(self._deaths[run] for run in in_training) or self.parts.is_stopped:
            return
        free = [run for run in configs if run not in in_training and not self.folder_of(run).is_locked()]
        suspects = [run for run in free if self._deaths[run]]
        if suspects and in_training:
            return
        files = [self._write_part(run, configs[run]) for run in suspects[:1] or free]
        if files:
            self._backend.submit(files)

    def _write_part(self, run: str, config: RunConfig) -> Path:
        from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it imports torch; planning has, too)

        cohorts = plan_cohorts([config], is_vectorizable)
        file = self.parts.write(Part(cohorts, self._sweep_folder, self._swept, bool(self._began), stop_on_error=False))
        self._training[file] = run
        self._begun.discard(run)
        self._interrupted.discard(run)
        return file

    def wait(self) -> None:
        """Wait a moment for runs that end, and take note of their failures and of workers that died."""
        if not self._training:
            time.sleep(LOOK_EVERY_S)  # another process trains the runs that are wanted
        ended = self._backend.watch(LOOK_EVERY_S)
        self.parts.look()  # before the deaths are counted: the last lines of a worker say how its run ended
        died = {self._training.pop(one.part): one.death for one in ended}
        self._count_deaths({run: death for run, death in died.items() if death and run not in self._interrupted})

    def _count_deaths(self, died: Mapping[str, str]) -> None:
        """Count how often each run was in training when its worker died.

        Args:
            died: Run id -> why the worker died, in one line.
        """
        if not died:
            return
        begun = [run for run in died if run in self._begun or self.folder_of(run).path.exists()]
        self._refusals = 0 if begun else self._refusals + 1
        for run in begun:
            self._deaths[run] += 1
            if self._deaths[run] >= MOST_DEATHS:
                self.problems[run] = f"its worker was lost each time that it was tried: {died[run]}"
        self.death = next(iter(died.values()))

    def _take(self, line: dict[str, Any]) -> None:
        """Take a line of progress; see `Say`."""
        self._begun.update(line.get("steps", {}))
        if line.get("ended", {}).get("status") == "interrupted":  # by a signal; the run continues from a checkpoint
            self._interrupted.add(line["ended"]["run_id"])
        for run in line.get("refused", []):
            self._failures[run] += 1
            if self._failures[run] > self._retries:
                self.problems[run] = line["reason"]

    def close(self, *, at_once: bool = False) -> None:
        """Stop the runs that are in training, and give the backend back.

        Args:
            at_once: Without waiting for checkpoints, where the backend can.
        """
        with contextlib.suppress(OSError):  # a full disk
            for part in self._training:
                halt_path(part).touch()
        self._backend.cancel(at_once=at_once)
        self._training.clear()
        self._backend.close()
