"""The results of studies in Trackio: a project per claim, with its verdict as a page and its figures as curves."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnlab.loggers.guarded import import_kind, refuse_missing_libraries
from bnlab.pages.study_results import Condition, StudyResult, read_study
from bnlab.report.exported_runs import Exported, use_place

Point = tuple[int, float, dict[str, Any]]
"""Step, seconds since 1970, values by tag, as `trackio_project.write` takes them."""


def export_claims(files: Sequence[Path], output: Path | None) -> Exported:
    """Write each study's result into a Trackio project of its own; what the project held is replaced.

    A project has one run with the verdict, whose steps are the numbers of seeds at which the study looked, and one run
    per condition, whose steps are its seeds.

    Args:
        files: Results of studies, NAME-SCALE.json.
        output: The folder of Trackio's projects; None: its usual place.

    Raises:
        ConfigError: Trackio is missing.
        StudyError: A file is not the result of a study.
    """
    refuse_missing_libraries(["trackio"], "--to")
    results = [read_study(path) for path in files]
    use_place("trackio", output)
    trackio = import_kind("trackio")
    done = Exported(what="claim")
    for result, path in zip(results, files, strict=True):
        project = f"claim-{path.stem}"
        for run in {record["name"] for record in trackio.runs_of(project)}:
            trackio.forget_runs(project, run)
        at = _seconds(result.made)
        config = {**_figures(result), "claim": result.claim, "verdict": result.verdict, "criterion": result.criterion}
        config |= {"statement": result.statement, "unit": result.unit, "reason": result.reason}
        trackio.write(project, "verdict", _verdict(result, at, trackio.page(_markdown(result))), config)
        for number, condition in enumerate(result.conditions, start=1):
            if points := _seeds(condition, at):
                name = f"condition {number}: {' and '.join(condition.arms) or condition.metric}"
                about = {"says": condition.says.en, "metric": condition.metric, "verdict": condition.verdict}
                trackio.write(project, name, points, {**about, "bound": condition.bound, "unit": condition.unit})
        done.written.append(project)
    done.address = str(trackio.place())
    done.command = trackio.command(done.written)
    return done


def _verdict(result: StudyResult, at: float, page: Any) -> list[Point]:
    """Return the study's earlier looks and its verdict, by their numbers of seeds."""
    looks = [
        (look.n or 0, _seconds(look.made) or at, _known({"effect": look.effect, "low": look.low, "high": look.high}))
        for look in result.history
        if look.n != result.n
    ]
    return [*sorted(looks), (result.n or 0, at, {**_figures(result), "report": page})]


def _seeds(condition: Condition, at: float) -> list[Point]:
    def value(figures: Sequence[Any], i: int) -> float | None:
        return figures[i] if i < len(figures) and isinstance(figures[i], float | int) else None

    points = []
    for i, seed in enumerate(condition.seeds):
        names = (*condition.arms, "first", "second")[:2] if len(condition.arms) > 1 else ("first", "second")
        figures = {names[0]: value(condition.first, i), names[1]: value(condition.second, i)}
        figures |= {"difference": value(condition.differences, i)}
        if known := _known(figures):
            points.append((seed, at, known))
    return points


def _figures(result: StudyResult) -> dict[str, float]:
    names = ("effect", "low", "high", "n", "sesoi", "seconds")
    figures = _known({name: getattr(result, name) for name in names})
    return figures | {"agree": result.stress.agree, "of": result.stress.of}


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figure for name, figure in figures.items() if figure is not None}


def _markdown(result: StudyResult) -> str:
    interval = "" if result.low is None or result.high is None else f" [{result.low:.4g}, {result.high:.4g}]"
    effect = "" if result.effect is None else f"{result.effect:.4g}{interval} {result.unit}, {result.n} seeds"
    lines = [f"# {result.claim}", f"**{result.verdict}**: {effect}", result.reason, result.told_rule]
    return "\n\n".join([*filter(None, lines), f"`{result.command}`" if result.command else ""]).strip()


def _seconds(made: str) -> float:
    try:
        return datetime.datetime.fromisoformat(made).timestamp()
    except ValueError:
        return 0.0
