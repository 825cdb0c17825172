"""Whether other studies judged the same runs on the same question by another criterion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnlab.studies.bounds import in_unit
from bnlab.studies.study_history import read_verdict

Criterion = tuple[str, ...]


def judged_otherwise(path: Path, verdict: Mapping[str, Any]) -> dict[int, list[str]]:
    """Return for each deciding condition a sentence per study that judged its runs by another criterion before.

    That is what a copy of a study's file with another bound does. Studies that ask other questions of the same runs,
    of other arms or by other figures, are as they should be.

    Args:
        path: The file of the verdict; those of the other studies lie beside it.
        verdict: The verdict, as `judge_study` returns it.

    Returns:
        Place of the condition -> the sentences; only conditions that have some.
    """
    began, own = _began(verdict), _asked(verdict)
    found: dict[int, list[str]] = {}
    for file in sorted(path.parent.glob("*.json")):
        other = None if file == path else read_verdict(file)
        if other is None or other.get("study") == verdict["study"] or _began(other) > began:
            continue
        theirs = list(_asked(other).values())
        for place, (question, criterion, _, seeds) in own.items():
            same = [(by, word) for asked, by, word, others in theirs if asked == question and seeds & others]
            if same and criterion not in {by for by, _ in same}:
                (*arms, unit, bound), word = same[0]
                told = f"{', '.join(arms)} {in_unit(bound, question[2], unit)}: {word}"
                sentence = f"The same runs were judged by another criterion in {other.get('study')} ({told})."
                found.setdefault(place, []).append(sentence)
    return found


def _began(verdict: Mapping[str, Any]) -> str:
    """Return when a study was first judged by the criterion that it has now, as a text that sorts by time."""
    history = verdict["history"]
    now = history[-1].get("criterion_sha256") if history else None
    return min((str(entry.get("made")) for entry in history if entry.get("criterion_sha256") == now), default="")


def _asked(verdict: Mapping[str, Any]) -> dict[int, tuple[Any, Criterion, str, set[int]]]:
    """Return for each deciding condition of runs, by its place: its question, its criterion, its verdict, its seeds.

    The question: of which runs, which arms, which figure. The criterion: which arm comes first, the unit, the bound.
    """
    found: dict[int, tuple[Any, Criterion, str, set[int]]] = {}
    conditions, parts = verdict.get("conditions"), verdict.get("parts")
    if not isinstance(conditions, list) or not isinstance(parts, dict) or not parts:
        return found
    for place, one in enumerate(conditions):
        part = parts.get(one.get("part") or next(iter(parts))) if isinstance(one, dict) else None
        arms = [str(arm) for arm in one["arms"]] if part and isinstance(one.get("arms"), list) else []
        if not isinstance(part, dict) or not arms:  # a law has no arms
            continue
        where, bound = one.get("where"), str(one.get("bound"))
        question = part.get("sweep"), one.get("metric"), one.get("kind"), sorted(arms), where
        ordered = sorted(arms) if bound.startswith("within") else arms
        seeds = {seed for seed in one.get("seeds") or () if isinstance(seed, int)}
        found[place] = question, (*ordered, str(one.get("unit")), bound), str(one.get("verdict")), seeds
    return found
