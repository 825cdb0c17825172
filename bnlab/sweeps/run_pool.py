"""Trains runs that are asked for one by one, as those of a search are, by any backend."""

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.cohorts import plan_cohorts
from bnlab.sweeps.execute import LOOK_EVERY_S
from bnlab.sweeps.parts import Part, halt_path
from bnlab.sweeps.parts_folder import PartsFolder
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import FAILED, GIVEN_UP, MOST_REFUSALS, SUBMITTED, WAITING, RunStates


class RunPool:
    """Trains runs, each as a part by itself.

    Args:
        sweep_folder: The folder in which the runs' folders lie.
        backend: Trains the parts; it has none yet.
        swept: The dotted keys in which the runs differ.
        again: Train runs anew that have a result from before.
        retries: How often a run that failed is tried again at once.
        view: Shown each line of progress; None: nobody is told.

    Attributes:
        parts: The folder by which the workers and this process tell each other things.
        death: Why a worker died, in one line, of the last one that did; None: none did.
    """

    def __init__(
        self,
        sweep_folder: Path,
        backend: Backend,
        swept: list[str],
        *,
        again: bool = False,
        retries: int = 0,
        view: SweepView | None = None,
    ) -> None:
        self.parts = PartsFolder(sweep_folder, self._take, view)
        self.death: str | None = None
        self._sweep_folder = sweep_folder
        self._backend = backend
        self._swept = swept
        self._again = again
        self._results_before: dict[str, tuple[int, int] | None] = {}
        self._states = RunStates([], retries)
        self._num_steps: dict[str, int] = {}
        self._training: dict[Path, str] = {}
        self._refusals = 0

    def folder_of(self, run: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self._sweep_folder / run)

    def is_done(self, run: str) -> bool:
        """Whether a run has its result, and a new one where that is asked."""
        stamp = self.folder_of(run).result_stamp()
        before = self._results_before.setdefault(run, stamp if self._again else None)
        return stamp not in {None, before}

    def has_begun(self, run: str) -> bool:
        """Whether the records in the folder of a run are those of this training, or of one that it continues."""
        folder = self.folder_of(run)
        is_old = self._again and folder.result_stamp() == self._results_before.get(run) is not None
        return folder.path.exists() and not is_old

    def last_step(self, run: str) -> float | None:
        """Return the step at which the training of a run is complete, as far as it is known yet; else None.

        A run that diverged has no such step.
        """
        result = self.folder_of(run).read_finished() if self.is_done(run) else None
        if result is None:
            return self._num_steps.get(run)
        return result.steps if result.status == "finished" else math.inf

    def problems(self) -> dict[str, str]:
        """Return the runs that have no result and are not trained any more, and why: run id -> one sentence."""
        return {run: self._states.reasons[run] for run in self._states.those_in(FAILED, GIVEN_UP)}

    @property
    def is_training(self) -> bool:
        """Whether any run is in training."""
        return bool(self._training)

    @property
    def is_refused(self) -> bool:
        """Whether workers died again and again before any run began: the backend is not set up, or out of order."""
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
        is_suspect_in_training = any(map(self._states.num_deaths, self._training.values()))
        if is_suspect_in_training or self.parts.is_stopped:
            return
        self._states.add(configs)
        waiting = self._states.those_in(WAITING, among=configs)
        free = [run for run in waiting if not self.folder_of(run).is_locked()]
        suspects = [run for run in free if self._states.num_deaths(run)]
        if suspects and self._training:
            return
        files = [self._write_part(run, configs[run]) for run in suspects[:1] or free]
        if files:
            self._backend.submit(files)

    def _write_part(self, run: str, config: RunConfig) -> Path:
        from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it imports torch; planning has, too)

        cohorts = plan_cohorts([config], is_vectorizable)
        file = self.parts.write(Part(cohorts, self._sweep_folder, self._swept, self._again, stop_on_error=False))
        self._training[file] = run
        self._states.move("submit", run)
        return file

    def wait(self) -> None:
        """Wait a moment for runs that end, and take note of their failures and of workers that died."""
        if not self._training:
            time.sleep(LOOK_EVERY_S)  # another process trains the runs that are wanted
        ended = self._backend.watch(LOOK_EVERY_S)
        self.parts.look()  # first: the last lines of a worker say how its run ended
        deaths = {self._training.pop(one.part): one.death for one in ended}
        for run, death in deaths.items():
            if self.is_done(run):
                self._states.move("find result", run)
            elif death is not None and self._was_not_seen(run) and self.has_begun(run):
                self._states.move("step", run)  # its worker died before it told of a step
            self._states.lose(run, death)
            self.death = death or self.death
        dead = [run for run, death in deaths.items() if death is not None]
        if deaths:
            self._refusals = self._refusals + 1 if dead and all(map(self._was_not_seen, dead)) else 0
        for run in deaths:
            self._states.move("try again", run)

    def _was_not_seen(self, run: str) -> bool:
        return bool(self._states.those_in(SUBMITTED, among=[run]))

    def _take(self, line: dict[str, Any]) -> None:
        self._states.take(line)
        self._num_steps |= dict.fromkeys(line.get("steps", {}), line.get("of", 0))

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
