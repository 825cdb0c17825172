"""Trains what studies need, and judges them: one study after the other, or until they are decided."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bnlab.cli.consoles import Waiting
from bnlab.cli.study_text import one_line
from bnlab.errors import BnlabError, ConfigError, StudyError, did_you_mean
from bnlab.pages.words import Words
from bnlab.renamed import current_name
from bnlab.results.arms import arm_keys
from bnlab.results.query import Row, describe_column, read_condition
from bnlab.runfolder.index import by_name, flatten
from bnlab.runfolder.writable import check_writable
from bnlab.studies.study_file import ScaleName
from bnlab.studies.study_history import Asked, note_begin, read_verdict, seeds_judged
from bnlab.studies.study_search import Study
from bnlab.studies.study_sweeps import StudySweep, main_sweep, read_tuned, tuning_sweep
from bnlab.studies.study_verdict import judge_study, write_verdict
from bnlab.sweeps.execute import execute, start_workers_early
from bnlab.sweeps.plan import Sweep, plan_sweep, prepared
from bnlab.sweeps.progress import SweepView
from bnlab.training.interruption import Interruption

SAID_SO_FAR_EVERY_S = 30.0
"""Seconds between two verdicts so far, while runs are in training."""


@dataclass(frozen=True)
class Training:
    """How the runs of studies are trained.

    Attributes:
        config_dir: A folder with the user's own options; None: there is none but ./conf.
        words: Further words for each sweep, that change no result, such as ``sweep.engine=sequential``.
        jobs: Processes; None: one per physical core.
        again: Train runs anew that have a result.
        interruption: Asked whether training should stop.
        open_view: Opens the view of a sweep: its plan, the missing runs, what is said above it.
        say: Says a line to the user.
        warn: Says a warning to the user.
        is_quiet: Whether nothing is said while one waits.
        done: Names of the sweeps that this command has trained: ``again`` means once.
    """

    config_dir: Path | None
    words: tuple[str, ...]
    jobs: int | None
    again: bool
    interruption: Interruption
    open_view: Callable[[Sweep, list[str]], contextlib.AbstractContextManager[SweepView | None]]
    say: Callable[[str], None]
    warn: Callable[[str], None]
    is_quiet: bool = False
    done: set[str] = field(default_factory=set)


class StoppedError(Exception):
    """Training was asked to stop, by a signal; what was recorded is on disk."""


def run_study(study: Asked, training: Training, *, until_decided: bool = False) -> dict[str, Any]:
    """Train what is missing of a study, judge it, keep the verdict; return it.

    Args:
        study: The study; with ``until_decided`` its number of seeds is the largest that is taken.
        training: How the runs are trained.
        until_decided: Begin with the first of the study's looks, and go on to the next one as long as the verdict is
            inconclusive.

    Raises:
        BnlabError: A run cannot be trained, or the study cannot be judged.
        StoppedError: Training was asked to stop.
    """
    judged = seeds_judged(study)
    looks = [n for n in study.study.file.looks if judged <= n < study.seeds] if until_decided else []
    verdict: dict[str, Any] = {}
    for seeds in [*looks, study.seeds]:
        asked = replace(study, seeds=seeds)
        if until_decided:
            training.say(f"look at {seeds} seeds")
        began = time.monotonic()
        trained = _train(asked, training)
        with Waiting("Judging", training.is_quiet):
            verdict = judge_study(asked, time.monotonic() - began if trained else 0.0)
        try:
            write_verdict(asked, verdict)
        except ConfigError as error:  # it is told all the same
            training.warn(f"verdicts are not kept: {error}")
        if verdict["verdict"] != "inconclusive":
            break
    return verdict


def estimate_minutes(study: Study, scale: ScaleName, runs: Path) -> float:
    """Return the minutes that a study is expected to take; 0 where its verdict is there already."""
    seeds = study.file.scales[scale].seeds
    found = read_verdict(Asked(study, scale, seeds, runs).path)
    done = found is not None and found.get("sha256") == study.sha256 and found.get("n", 0) >= seeds
    return 0.0 if done else study.file.scales[scale].minutes


def _train(asked: Asked, training: Training) -> bool:
    """Train what is missing of all parts; return whether anything was."""
    parts = asked.study.file.scales[asked.scale].parts
    choices, mains, trained = {}, {}, False
    for name, part in parts.items():  # all of them are planned and checked before the first run is trained
        choosing = tuning_sweep(part)
        if choosing is not None:
            choices[name] = _plan(choosing, asked, training, name, is_choice=True)
        else:
            mains[name] = _plan(main_sweep(part, asked.seed_range, None), asked, training, name)
    for name, sweep in choices.items():
        trained |= _train_sweep(sweep, asked, training, name, is_choice=True)
    for name, part in parts.items():
        if name not in mains:
            mains[name] = _plan(main_sweep(part, asked.seed_range, read_tuned(part, asked.runs)), asked, training, name)
        trained |= _train_sweep(mains[name], asked, training, name)
    return trained


def _plan(wanted: StudySweep, asked: Asked, training: Training, part: str, *, is_choice: bool = False) -> Sweep:
    """Return a sweep with all of its runs, if the conditions of the study can be asked of them.

    Args:
        wanted: The sweep.
        asked: The study, its scale and its seeds.
        training: How the runs are trained.
        part: The part of the study that it belongs to.
        is_choice: Whether its runs choose the learning rates of the part; else they decide.

    Raises:
        StudyError: It cannot be planned.
    """
    set_by_study = {word.partition("=")[0] for word in wanted.words}  # seconds need sweep.engine=sequential, say
    added = [word for word in training.words if word.partition("=")[0] not in set_by_study]
    words = [f"name={wanted.name}", *wanted.words, *added]
    try:
        with Waiting("Checking every run", training.is_quiet):
            sweep = plan_sweep(words, asked.runs, training.config_dir)
    except BnlabError as error:
        raise StudyError(f"{asked.study.path}: {error}") from error
    _check_names(asked, part, sweep, is_choice=is_choice)
    return sweep


def _train_sweep(sweep: Sweep, asked: Asked, training: Training, part: str, *, is_choice: bool = False) -> bool:
    """Train what is missing of one sweep; return whether anything was.

    Args:
        sweep: The sweep, planned.
        asked: The study, its scale and its seeds.
        training: How the runs are trained.
        part: The part of the study that it belongs to.
        is_choice: Whether its runs choose the learning rates of the part; else they decide.

    Raises:
        StudyError: Runs have no result afterwards.
        StoppedError: Training was asked to stop.
    """
    again = training.again and sweep.folder.name not in training.done
    missing = sweep.missing(again=again)
    if not missing:
        return False
    check_writable(sweep.folder)
    note_begin(asked)
    start_workers_early(sweep, missing, training.jobs)
    try:
        with Waiting("Checking every run", training.is_quiet):
            sweep = prepared(sweep, again=again)
    except BnlabError as error:
        raise StudyError(f"{asked.study.path}: {error}") from error
    for warning in sweep.warnings:
        training.warn(warning)
    what = f", {part}" if len(asked.study.file.scales[asked.scale].parts) > 1 else ""
    what = ", choice of learning rates" if is_choice else what
    training.say(f"{asked.study.name}{what}: {len(missing)} of {len(sweep.configs)} runs to train")
    with training.open_view(sweep, missing) as view:
        result = execute(
            sweep,
            missing,
            jobs=training.jobs,
            again=again,
            view=None if view is None else view if is_choice else _SoFar(view, asked, training),
            interruption=training.interruption,
        )
    if training.interruption.is_asked:
        raise StoppedError
    training.done.add(sweep.folder.name)
    if result.reasons:
        name, why = next(iter(result.reasons.items()))
        raise StudyError(f"{len(result.reasons)} runs of {asked.study.name} failed: {name}: {why}")
    return True


def _check_names(asked: Asked, part: str, sweep: Sweep, *, is_choice: bool) -> None:
    """Raise if a condition names arms, runs or a diagnostic that its part will not have, before any run is trained.

    Raises:
        ConfigError: It does.
    """
    file = asked.study.file
    arms = {sweep.arm(name): None for name in sweep.configs}
    flat = [by_name(flatten(config.as_dict())) for config in sweep.configs.values()]
    words = {str(one.get(key)) for one in flat for key in (*arm_keys(sweep.swept), "norm")} | arms.keys()
    measured = {current_name(name) for config in sweep.configs.values() for name in config.diagnostics.names}
    for condition in (*file.conditions_at(asked.scale), *file.checks_at(asked.scale), *file.also_at(asked.scale)):
        if condition.metric is None or (condition.part or part) != part:
            continue
        for arm in condition.arms or condition.recovered or (condition.arm,):
            if arm not in words:
                near = did_you_mean(str(arm), sorted(words))
                raise ConfigError(f"{asked.study.path}: part {part} has no arm {arm}. {near}")
        if not is_choice:  # runs that choose learning rates have other seeds
            _check_where(f"{asked.study.path}: part {part}", condition.where, flat)
        diagnostic = current_name(condition.quantity().diagnostic)
        if diagnostic and diagnostic not in measured:
            raise ConfigError(
                f"{asked.study.path}: part {part} does not measure {diagnostic}. Add it to its words: "
                f'diagnostics.names: "[{diagnostic}]".'
            )


def _check_where(place: str, where: Sequence[str], rows: Sequence[Row]) -> None:
    """Raise if no run fulfills all conditions on runs.

    Raises:
        ConfigError: None does, or a condition is none.
    """
    for text in where:
        try:
            chosen = read_condition(text, rows)
        except ConfigError as error:
            raise ConfigError(f"{place}: {str(error).removeprefix('--')}") from None
        kept = [row for row in rows if chosen.holds(row)]
        if not kept:
            raise ConfigError(f"{place} has no run with {' '.join(where)}. {describe_column(chosen.column, rows)}.")
        rows = kept


class _SoFar:
    """A view that also says the verdict on the runs that have ended so far."""

    def __init__(self, view: SweepView, asked: Asked, training: Training) -> None:
        self._view = view
        self._asked = asked
        self._say = training.say
        self._said = time.monotonic()

    def take(self, line: Any) -> None:
        """Take one line of progress."""
        self._view.take(line)
        if "ended" in line and time.monotonic() - self._said > SAID_SO_FAR_EVERY_S:
            with contextlib.suppress(BnlabError):  # not enough runs yet
                verdict = judge_study(self._asked)
                self._say(f"so far: {one_line(verdict, Words('en'))}")
            self._said = time.monotonic()


def within_minutes(
    studies: Sequence[Study], scale: ScaleName, runs: Path, minutes: float
) -> tuple[list[Study], list[tuple[Study, float]]]:
    """Return the studies that fit into some minutes, and those that are left out with the minutes that they take.

    The cheapest first, so that most of the claims are answered; in the order in which they came.

    Args:
        studies: The studies in the order in which they would run.
        scale: ``quick`` or ``full``, for the minutes that their files name.
        runs: The folder of all runs: what is there already costs nothing.
        minutes: Minutes on this machine.
    """
    cost = {study.name: estimate_minutes(study, scale, runs) for study in studies}
    left, chosen = minutes, set()
    for study in sorted(studies, key=lambda one: cost[one.name]):
        if cost[study.name] <= left:
            left -= cost[study.name]
            chosen.add(study.name)
    kept = [study for study in studies if study.name in chosen]
    return kept, [(study, cost[study.name]) for study in studies if study.name not in chosen]
