"""The sweeps of a study: their words and their folders, and the learning rates that were chosen for each arm.

Runs that two studies have in common are trained once: a sweep's folder is named by its words without the seeds.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import StudyError
from bnlab.results.arms import LEARNING_RATE, Arm
from bnlab.results.sweep import read_sweep
from bnlab.studies.arm_pair import ArmPair
from bnlab.studies.quantity import read_quantity
from bnlab.studies.study_file import TUNING_SEEDS_FROM, PartOfScale
from bnlab.sweeps.sweep_files import as_word


@dataclass(frozen=True)
class StudySweep:
    """A sweep that a part of a study needs.

    Attributes:
        name: Its name, and that of its folder.
        words: The words of ``bnlab sweep`` without its name.
    """

    name: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that trains the same runs."""
        quoted = [f"'{word}'" if set(word) & set("()[] *") else word for word in (f"name={self.name}", *self.words)]
        return f"bnlab sweep {' '.join(quoted)}"


@dataclass(frozen=True)
class Tuned:
    """The learning rates of the arms of a part.

    Attributes:
        rates: Label of an arm -> its best learning rate on the validation set.
        sentences: What must be said aloud: a best rate at an end of the grid, missing runs.
    """

    rates: dict[str, float]
    sentences: tuple[str, ...]


def tuning_sweep(part: PartOfScale) -> StudySweep | None:
    """Return the sweep by which learning rates are chosen; None where none are."""
    if part.tune is None:
        return None
    last = TUNING_SEEDS_FROM + part.tune.seeds
    words = (*_words(part.words), f"seed=range({TUNING_SEEDS_FROM},{last})")
    return StudySweep(f"{_name(part)}-tuning", words)


def main_sweep(part: PartOfScale, seeds: range, tuned: Tuned | None) -> StudySweep:
    """Return the sweep whose runs decide.

    Args:
        part: One part of the study: its words, and how its learning rates are chosen.
        seeds: Seeds of the runs that decide.
        tuned: The learning rates that were chosen; None where none are.
    """
    words = dict(part.words)
    if tuned is not None:
        words[LEARNING_RATE] = sorted(set(tuned.rates.values()))
    word = f"seed=range({seeds.start},{seeds.stop})" if seeds.start else f"seed=range({seeds.stop})"
    return StudySweep(_name(part), (*_words(words), word))


def read_tuned(part: PartOfScale, runs: Path) -> Tuned | None:
    """Return the learning rates that a tuning sweep has found; None where nothing is tuned.

    Args:
        part: One part of the study: its words, and how its learning rates are chosen.
        runs: The folder of all runs.

    Raises:
        StudyError: The sweep is not there, or an arm of it has no outcome.
    """
    sweep = tuning_sweep(part)
    if sweep is None or part.tune is None:
        return None
    grid = read_sweep(runs / sweep.name).read_arms()
    rates, sentences = {}, [f"Choice of learning rates: {sentence}" for sentence in grid.sentences()]
    for arm in grid.arms:
        tried = [cell.lr for cell in arm.compared]
        if not tried:
            raise StudyError(f"{runs / sweep.name}: {arm.label} has no run with an outcome. Run the study again.")
        rates[arm.label] = lr = _best_rate(arm, part.tune.by)
        if len(tried) > 1 and lr in {tried[0], tried[-1]}:
            end, beyond = ("lowest", "lower") if lr == tried[0] else ("highest", "higher")
            sentences.append(
                f"{arm.label} does best at {lr:g}, the {end} learning rate that was tried: a {beyond} one may be "
                "better."
            )
    if not rates:
        raise StudyError(f"{runs / sweep.name} holds no runs that can be read. Run the study again.")
    return Tuned(rates, tuple(sentences))


def _best_rate(arm: Arm, by: str) -> float:
    """Return the learning rate at which an arm is the most accurate, has the lowest loss, or is the fastest."""
    if by in {"accuracy", "loss"}:
        best = arm.best("accuracy" if by == "accuracy" else "loss")
        assert best is not None  # a run has an outcome
        return best.cell.lr
    return ArmPair(arm, arm, read_quantity(by), [cell.lr for cell in arm.compared], 1.0).fastest(0)


def _words(words: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={as_word(value)}" for key, value in words.items())


def _name(part: PartOfScale) -> str:
    said = json.dumps([sorted(_words(part.words)), None if part.tune is None else part.tune.model_dump()])
    return f"study-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
