"""The verdict on a study: all of its conditions together, as plain values, with the history of earlier verdicts."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import bnlab
from bnlab.errors import ConfigError, StudyError
from bnlab.stats.verdict import Word
from bnlab.studies.condition import Condition, Text
from bnlab.studies.condition_verdict import judge_condition
from bnlab.studies.judged_condition import JudgedCondition, unreadable
from bnlab.studies.other_criteria import judged_otherwise
from bnlab.studies.readings import read_figures
from bnlab.studies.study_history import (
    Asked,
    how_it_changed,
    looks_to_share,
    read_begun,
    read_verdict,
    replace_text,
    set_aside_if_damaged,
)
from bnlab.studies.study_sweeps import Tuned, main_sweep, read_tuned, tuning_sweep

MOST_NAMED = 3
"""Conditions that a sentence names; of the others it gives the number."""


def judge_study(asked: Asked, seconds_wall: float = 0.0) -> dict[str, Any]:
    """Return the verdict on a study from the runs that are there, as plain values.

    Supported: each condition is; refuted: one of them is; either only where each check of the experiment is supported.
    Its looks share the error (see `looks_to_share`), and its conditions where one of them refutes the claim. The effect
    is that of the first condition that makes the verdict what it is.

    Args:
        asked: The study, its scale and its seeds.
        seconds_wall: Seconds that training took just now.

    Raises:
        ConfigError: A condition names an arm or a setting that the runs do not have.
        StudyError: Runs are missing, so that a figure cannot be read.
    """
    file = asked.study.file
    conditions, checks, also = (of(asked.scale) for of in (file.conditions_at, file.checks_at, file.also_at))
    lost = set_aside_if_damaged(asked.path)
    before = read_verdict(asked.path)
    history = [] if before is None else list(before["history"])
    looks = looks_to_share(file.looks, [entry.get("n", 0) for entry in history], asked.seeds)
    tuned = {name: read_tuned(part, asked.runs) for name, part in file.scales[asked.scale].parts.items()}
    judged = [_judge(asked, condition, tuned, looks, len(conditions)) for condition in conditions]
    checked = [_judge(asked, condition, tuned, looks) for condition in checks]
    besides = [_judge_besides(asked, condition, tuned, looks) for condition in also]
    verdict, reason = _decide(judged, checked)
    first = next((one for one in judged if one.verdict == verdict), judged[0])
    made = datetime.now(UTC).isoformat(timespec="seconds")
    criterion = file.criterion_hash(asked.scale)
    changed = " ".join(filter(None, [lost, how_it_changed([*read_begun(asked), *history], criterion)]))
    figures = {"effect": first.as_dict()["effect"], "low": first.as_dict()["low"], "high": first.as_dict()["high"]}
    entry = {"made": made, "sha256": asked.study.sha256, "criterion_sha256": criterion, "n": asked.seeds}
    entry |= {"looks": looks, "verdict": verdict, **figures}
    spent = 0.0 if before is None or changed else float(before.get("seconds_wall") or 0.0)
    found = {
        **_texts(asked),
        "made": made,
        "version": bnlab.__version__,
        "verdict": verdict,
        **figures,
        "unit": first.unit,
        "n": first.interval.n,
        "sesoi": first.condition.sesoi,
        "criterion": _rule(asked, judged, checked, in_units=False),
        "rule": _rule(asked, judged, checked, in_units=True),
        "reason": reason,
        "decisive": judged.index(first),
        "stress": _stress(judged, verdict, checked),
        "to_change": _to_change(judged, verdict),
        "holm_p": _holds_at(judged, verdict),
        "error_share": 1 / looks,
        "seconds": math.fsum(_seconds_by_part([*judged, *checked, *(one for one, _ in besides if one)]).values()),
        "seconds_wall": spent + seconds_wall,
        "changed": changed,
        "history": [*history, entry] if not history or _differs(history[-1], entry) else history,
        "conditions": [_with_tuning(one, tuned) for one in judged],
        "checks": [_with_tuning(one, tuned) for one in checked],
        "also": [_with_tuning(one, tuned) if one else told for one, told in besides],
        "parts": _parts(asked, tuned),
    }
    for place, sentences in judged_otherwise(asked.path, found).items():
        found["conditions"][place]["sentences"] += sentences
    return found


def _decide(judged: Sequence[JudgedCondition], checked: Sequence[JudgedCondition]) -> tuple[Word, str]:
    """Return the verdict, and why it is what it is."""
    failed = next((one for one in checked if one.verdict != "supported"), None)
    if failed is not None:
        says = failed.says.en.removeprefix("Check: ").rstrip(".")
        return "inconclusive", f"The experiment is no test of the claim, since a check is {failed.verdict}: {says}."
    words = [one.verdict for one in judged]
    verdict: Word = "refuted" if "refuted" in words else "supported" if set(words) == {"supported"} else "inconclusive"
    return verdict, next((one.reason for one in judged if one.verdict == verdict and one.reason), "")


def write_verdict(asked: Asked, verdict: Mapping[str, Any]) -> None:
    """Write the file of a verdict, whole or not at all.

    Args:
        asked: The study, its scale and its seeds.
        verdict: What `judge_study` returned.

    Raises:
        ConfigError: It cannot be written to.
    """
    replace_text(asked.path, json.dumps(verdict, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _judge(
    asked: Asked, condition: Condition, tuned: Mapping[str, Tuned | None], looks: int, conditions: int = 1
) -> JudgedCondition:
    parts = asked.study.file.scales[asked.scale].parts
    folder, rates = None, None
    if condition.law is None:
        name = condition.part or next(iter(parts))
        rates = tuned[name]
        folder = asked.runs / main_sweep(parts[name], asked.seed_range, rates).name
        if not folder.is_dir():
            raise StudyError(f"{folder} is not there: the runs of {asked.study.name} are missing. Run {asked.command}.")
    chosen = None if rates is None else rates.rates
    readings = read_figures(condition, folder, looks * conditions, asked.seed_range, chosen)
    return judge_condition(condition, readings, looks, conditions)


def _judge_besides(
    asked: Asked, condition: Condition, tuned: Mapping[str, Tuned | None], looks: int
) -> tuple[JudgedCondition | None, dict[str, Any]]:
    """Return a verdict that decides nothing; where its figure cannot be read, what is said in its place."""
    try:
        return _judge(asked, condition, tuned, looks), {}
    except (ConfigError, StudyError) as error:
        return None, unreadable(condition, str(error))


def _texts(asked: Asked) -> dict[str, Any]:
    """Return what the file of the study says, word for word."""
    file, scale = asked.study.file, asked.study.file.scales[asked.scale]
    claim, protocol = scale.claim or file.claim, scale.protocol or file.protocol

    def both(text: Text | None) -> dict[str, str]:
        return {"en": "", "zh": ""} if text is None else {"en": text.en, "zh": text.zh or text.en}

    return {
        "study": asked.study.name,
        "scale": asked.scale,
        "file": asked.place,
        "sha256": asked.study.sha256,
        "claim": claim.en,
        "claim_zh": claim.zh or claim.en,
        "statement": ", ".join(file.statements) or None,
        "experiment": file.experiment,
        "pack": file.pack,
        "source": file.source,
        "literature": both(file.literature),
        "fools": both(file.fools),
        "protocol": both(protocol),
        "looks": list(file.looks),
        "command": asked.command,
    }


def _rule(
    asked: Asked, judged: Sequence[JudgedCondition], checked: Sequence[JudgedCondition], *, in_units: bool
) -> str:
    """Return when the study is supported and when refuted, in words.

    Args:
        asked: The study, its scale and its seeds.
        judged: The conditions that decide.
        checked: What the experiment presupposes.
        in_units: Whether bounds are in the units in which effects are shown, 1 point; else as the file has them, 0.01.
    """

    def bounds(of: Sequence[JudgedCondition]) -> str:
        return _several([f"{one.name} {one.bound if in_units else one.condition.bound}" for one in of])

    all_of = f"all of {len(judged)} intervals lie where they must" if len(judged) > 1 else "its interval lies there"
    any_of = "any lies" if len(judged) > 1 else "it lies"
    given = f" Checked first: {bounds(checked)}." if checked else ""
    planned = len(asked.study.file.looks)
    also = "" if len(judged) == 1 else f", and {len(judged)} conditions where one of them refutes"
    looks = "1 planned look and later ones" if planned == 1 and in_units else f"{planned} planned looks"
    share = f"{looks} share an error of 4%{also}"
    return f"{bounds(judged)}. Supported if {all_of}, refuted if {any_of} outside.{given} {share}."


def _stress(judged: Sequence[JudgedCondition], verdict: Word, checked: Sequence[JudgedCondition]) -> dict[str, Any]:
    """Return the stress panel of each condition that makes the verdict what it is; of none, where a check does."""
    decisive = [one for one in judged if one.verdict == verdict] or list(judged)
    if any(one.verdict != "supported" for one in checked):
        decisive = []
    agree, of = sum(one.stress.agree for one in decisive), sum(one.stress.of for one in decisive)
    several = len(judged) > 1
    flips = [f"{one.name}: {flip}" if several else flip for one in decisive for flip in one.stress.flips]
    return {"agree": agree, "of": of, "flips": flips}


def _to_change(judged: Sequence[JudgedCondition], verdict: Word) -> str:
    decisive = [one for one in judged if one.verdict == verdict and one.to_change]
    several = len(judged) > 1
    return _several([f"{one.name}: {one.to_change}" if several else one.to_change for one in decisive])


def _several(texts: Sequence[str]) -> str:
    """Return the first few of some texts as one, and the number of the others."""
    more = f"; {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return "; ".join(texts[:MOST_NAMED]) + more


def _holds_at(judged: Sequence[JudgedCondition], verdict: Word) -> float | None:
    """Return the error at which the verdict would just hold, its looks and conditions counted.

    None where it is inconclusive, and for definitions, which are computed, and take no part in a family of claims.
    """
    if all(one.condition.law is not None for one in judged):
        return None
    known = [one.holds_at for one in judged if one.verdict == verdict and one.holds_at is not None]
    if verdict == "inconclusive" or not known:
        return None
    return max(known) if verdict == "supported" else min(known)


def _seconds_by_part(judged: Sequence[JudgedCondition]) -> dict[Any, float]:
    """Return the seconds of training of each group of runs that some condition asks, each group once."""
    seconds: dict[Any, float] = {}
    for one in judged:
        key = one.condition.part, one.condition.where, one.readings.labels
        seconds[key] = one.readings.seconds
    return seconds


def _with_tuning(one: JudgedCondition, tuned: Mapping[str, Tuned | None]) -> dict[str, Any]:
    found = one.as_dict()
    name = one.condition.part or next(iter(tuned), None)
    of_part = None if name is None or one.condition.law is not None else tuned.get(name)
    if of_part is not None:
        found["sentences"] = [*found["sentences"], *of_part.sentences]
    return found


def _parts(asked: Asked, tuned: Mapping[str, Tuned | None]) -> dict[str, Any]:
    found = {}
    for name, part in asked.study.file.scales[asked.scale].parts.items():
        sweep, tuning = main_sweep(part, asked.seed_range, tuned[name]), tuning_sweep(part)
        found[name] = {
            "sweep": sweep.name,
            "words": list(sweep.words),
            "command": sweep.command,
            "tuning": None if tuning is None else tuning.name,
            "tuning_command": None if tuning is None else tuning.command,
            "rates": None if (of := tuned[name]) is None else of.rates,
        }
    return found


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return any(one.get(key) != other.get(key) for key in other.keys() - {"made"})
