"""One trial of a search, in a worker: the run that its settings make, and how good that was."""

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bnlab.config.grammar import DIGITS
from bnlab.errors import BnlabError, RunBusyError, RunError
from bnlab.records import as_record
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import plan_cohorts
from bnlab.sweeps.grid import expand_one
from bnlab.sweeps.parts import STOP, Part, train_cohort, working
from bnlab.sweeps.progress import Say
from bnlab.training.interruption import Interruption

BUSY_S = 1.0
"""Seconds between two looks at a run that somebody else trains: another trial with the same settings, for one."""

_RULES = "search.json"


@dataclass(frozen=True)
class TrialRules:
    """What all trials of a search have in common; written down for the workers.

    Attributes:
        sweep_folder: Where the runs' folders lie.
        config_dir: A folder of own options, or None.
        fixed: The overrides that give one value.
        keys: What is searched, by the name that Hydra knows it by: there a dot would begin a section.
        began: Since when a run counts as done; empty: whenever it was.
        retries: How often a run that failed is tried again at once.
        stop_on_error: After a failure no further trial is begun.
        suspects: Runs in training when a worker died. One at a time is trained, to find out which of them it was.
        failed: Run id -> why it has no result and is not tried any more.
    """

    sweep_folder: str
    config_dir: str | None
    fixed: Sequence[str]
    keys: Mapping[str, str]
    began: str
    retries: int
    stop_on_error: bool
    suspects: Sequence[str]
    failed: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write them down."""
        (folder / _RULES).write_text(json.dumps(asdict(self)), encoding="utf-8")


class SearchEnded(BaseException):
    """A search is not to begin any further trial. No Exception: a sweeper takes those for trials that failed."""


class TheEnd:
    """The objective of a trial that was not made, since the search is to end: to read it ends the search.

    Anything else that is no number would be a trial that failed, and the sweeper would choose the next one.
    """

    def __float__(self) -> float:
        raise SearchEnded


def train_trial(folder: Path, number: int, chosen: Mapping[str, Any]) -> float | TheEnd | None:
    """Train the run of a trial, unless its result is there. What happens is told by files, in two lines.

    Args:
        folder: Where the rules are written down.
        number: Of the trial.
        chosen: The settings, by the names that Hydra knows them by.

    Returns:
        Its objective; None where there is none, since it failed: Optuna then counts the trial as failed, learns nothing
        of it, and goes on.
    """
    rules = TrialRules(**json.loads((folder / _RULES).read_text(encoding="utf-8")))
    with working(folder) as (say, interruption):
        if (folder / STOP).exists() or interruption.is_asked:
            return TheEnd()
        words = {rules.keys[name]: _as_typed(value) for name, value in chosen.items()}
        facts = {"trial": number, "chosen": words}
        try:
            overrides = [*rules.fixed, *(f"{key}={value}" for key, value in words.items())]
            config = expand_one(overrides, Path(rules.config_dir) if rules.config_dir else None)
            facts |= {"run": run_id(config), "seed": config.seed}
            value = _trained(config, facts, rules, folder, say, interruption)
        except BnlabError as error:
            if interruption.is_asked:
                return TheEnd()
            say({**facts, "problem": str(error)})
            if rules.stop_on_error:
                (folder / STOP).touch()
            return None
        say({**facts, "value": value})
        return value


def _trained(
    config: RunConfig, facts: Mapping[str, Any], rules: TrialRules, folder: Path, say: Say, interruption: Interruption
) -> float:
    """Train a run until it has a result; return its objective.

    Raises:
        RunError: There is none.
        BnlabError: There is none, for another reason.
    """
    name = facts["run"]
    if name in rules.failed:
        raise RunError(rules.failed[name])
    with FileLock(folder / "suspects.lock") if name in rules.suspects else contextlib.nullcontext():
        say({**facts})  # not before it is its turn: who has begun when a worker dies is a suspect
        run_folder = RunFolder(Path(rules.sweep_folder) / name)
        retries = rules.retries
        while not interruption.is_asked and not _is_done(run_folder, rules.began):
            try:
                _train(config, rules, say, interruption)
            except RunBusyError:
                time.sleep(BUSY_S)
            except BnlabError:
                if retries == 0:
                    raise
                retries -= 1
    return objective(run_folder)


def _is_done(run_folder: RunFolder, began: str) -> bool:
    return run_folder.read_finished() is not None and str(run_folder.read_manifest().get("ended", "")) >= began


def _train(config: RunConfig, rules: TrialRules, say: Say, interruption: Interruption) -> None:
    """Train a run.

    Raises:
        RunBusyError: Another process does.
        BnlabError: It failed.
    """
    from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it waits for torch; whoever searches need not)

    part = Part([], Path(rules.sweep_folder), list(rules.keys.values()), bool(rules.began), rules.stop_on_error)
    (cohort,) = plan_cohorts([config], is_vectorizable)
    train_cohort(cohort, part, say, interruption)


def objective(folder: RunFolder) -> float:
    """Return what a search makes small: the validation loss at the end, at the start for a run that diverged.

    So a run that diverged is as good as one that has learned nothing, however it ended: its last loss, which may be
    anything or no number at all, would tell a search about the point at which it was stopped.

    Args:
        folder: Of a run.

    Raises:
        RunError: The run has no result, or no loss that is a number.
    """
    result = folder.read_finished()
    if result is None:
        raise RunError("it came to no end.")
    if result.status == "finished" and result.validation_loss is not None and math.isfinite(result.validation_loss):
        return result.validation_loss
    evaluations = (as_record(facts) for facts in folder.read_records() if facts["kind"] == "eval")
    start = next((one.values["loss"] for one in evaluations if one.split == "validation"), math.nan)
    if math.isfinite(start):
        return start
    raise RunError(f"it {result.status}, and its validation loss at the start is no number either.")


def _as_typed(value: Any) -> str:
    """Return a chosen value as one would type it; a choice is that already."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
