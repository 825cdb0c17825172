"""A backend that trains nothing: it writes the folders of runs as training would, one evaluation at a time."""

import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import ClassVar

from bnlab import provenance
from bnlab.identity.run_id import run_id
from bnlab.records import EndRecord, EvalRecord, RunSummary, Status
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.parts import HALT, halt_path, read_part
from bnlab.sweeps.progress import ProgressFile

EVALUATIONS = (0, 20, 40, 60, 80, 100)
"""Steps at which a run is evaluated."""


def loss_at(config: RunConfig, step: int) -> float:
    """Return the pretended validation loss of a run: the best rate is 0.1, and a bad one is bad from the start."""
    return 1.0 + abs(math.log10(config.optim.lr) + 1) * step / 100 - 0.5 * step / 100 + (config.norm.name == "none")


class Killed(BaseException):
    """The search has been killed, as far as a test can do that to its own process."""


class PretendedRuns:
    """Trains parts in pretense; each call of `watch` makes one evaluation of one part.

    Args:
        which: Whose turn it is among the parts in training: ``first`` or ``last`` of them, or ``turns``.
        killed_after: Evaluations after which the search is killed; None: it is not.
        fails: Norms with which a run fails.
        dies: Norms with which a run takes its worker, and all parts in training, down with it.
    """

    has_process_per_part: ClassVar[bool] = False

    def __init__(
        self,
        which: str = "turns",
        *,
        killed_after: int | None = None,
        fails: Sequence[str] = (),
        dies: Sequence[str] = (),
    ) -> None:
        self.which = which
        self.left = killed_after
        self.fails = fails
        self.dies = dies
        self.training: dict[Path, Generator[str | None]] = {}
        self.submitted: list[str] = []
        self.evaluations: list[tuple[str, int]] = []

    def submit(self, parts: Sequence[Path]) -> None:
        for part in parts:
            (cohort,) = read_part(part).cohorts
            self.submitted.append(run_id(cohort.configs[0]))
            self.training[part] = self._train(part)

    def watch(self, timeout_s: float) -> list[PartEnded]:  # noqa: ARG002
        if not self.training:
            return []
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        place = -1 if self.which == "last" else 0
        part = list(self.training)[place]
        training = self.training.pop(part)
        word = next(training)
        if word == "died":
            training.close()
            ended = [PartEnded(one, "SIGKILL") for one in (part, *self.training)]
            self._forget_all()
            return ended
        if word == "ended":
            return [PartEnded(part, None)]
        if self.which == "turns":
            self.training[part] = training  # at the end: the next one has its turn
        else:
            self.training = {part: training, **self.training} if place == 0 else {**self.training, part: training}
        return []

    def cancel(self, *, at_once: bool = False) -> None:
        if self.left is None or self.left >= 0:
            for part in self.training:
                assert (part.parent / HALT).exists() or at_once
        self._forget_all()

    def close(self) -> None:
        pass

    def _forget_all(self) -> None:
        for training in self.training.values():
            training.close()  # the lock of its folder is free then, as that of a dead process is
        self.training.clear()

    def _train(self, part: Path) -> Generator[str | None]:
        facts = read_part(part)
        config = facts.cohorts[0].configs[0]
        name = run_id(config)
        folder = RunFolder(facts.sweep_folder / name)
        say = ProgressFile(part.parent / "progress").say
        manifest = {"started": provenance.now(), "run_id": name}
        status: Status = "interrupted"
        say({"steps": {name: 0}, "of": EVALUATIONS[-1]})
        with folder.opened_for_training(config, manifest):
            for step in EVALUATIONS:
                if halt_path(part).exists() or (part.parent / HALT).exists():
                    break
                if step and config.norm.name in self.fails:
                    say({"failed": [name], "reason": "two and two are five"})
                    status = "failed"
                    break
                if step and config.norm.name in self.dies:
                    yield "died"
                loss = loss_at(config, step)
                folder.append(EvalRecord(step, "validation", {"loss": loss, "accuracy": 0.5}))
                self.evaluations.append((name, step))
                yield None
            else:
                folder.append(EndRecord(step, "finished", {}))
                status = "finished"
            summary = RunSummary(name, status, str(folder.path), config.seed, validation_loss=loss, steps=step)
            folder.write_summary(summary)
            folder.write_manifest({**manifest, "status": status, "ended": provenance.now(), "config": config.as_dict()})
        if status != "failed":
            say({"ended": summary.as_dict()})
        yield "ended"
