"""`bnlab demo`."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bnlab.cli.command_options import Again, Jobs, Quiet, Runs, SweepOptions
from bnlab.cli.consoles import ERR, Waiting, say_error, say_unless, say_warning
from bnlab.cli.interrupts import say_interrupted
from bnlab.errors import BnlabError, RunError
from bnlab.records import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnlab.pages.race_page import RacePage
    from bnlab.pages.words import Words
    from bnlab.records import RunSummary
    from bnlab.sweeps.plan import Sweep

PAIRS = ("deep-sigmoid", "wide-sigmoid", "plain-relu")
"""The sweeps of conf/sweep that are trained, each with the arms batch and none."""

FIRST, SECOND = "batch", "none"

STUDIES = ("vanishing-gradients", "definitions")
"""The studies that are asked: of those about the article, the only ones that take less than 20 CPU seconds."""

PAGE = "demo.html"
"""The name of the page in the folder of all runs; that in Chinese is demo.zh.html."""


AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object per run, then one per study, then the sentences and the page.")
]
Lang = Annotated[
    Literal["en", "zh"], typer.Option("--lang", help="Sentences, verdicts and page in English or Chinese.")
]


def demo(
    lang: Lang = "en",
    jobs: Jobs = None,
    again: Again = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    runs: Runs = None,
) -> None:
    """See in a minute what batch normalization does, and what it does not: three pairs of networks, two verdicts.

    [bold]bnlab demo[/]: the curves of networks with and without it, while they train; sentences; a page

    [bold]bnlab demo --lang zh[/]: the same in Chinese

    Nothing is downloaded. The same command again shows what is there, and trains what is missing.
    """
    options = SweepOptions(runs, None, jobs, again=again, quiet=quiet, as_json=as_json)
    try:
        status = _run(options, lang)
    except KeyboardInterrupt:
        from bnlab.runfolder.finding import runs_root

        if not quiet:
            say_interrupted(runs_root(runs))
        status = 130
    raise typer.Exit(status)


def _run(options: SweepOptions, lang: Literal["en", "zh"]) -> int:
    """Train what is missing, ask the studies, print what came out; return the exit status."""
    from bnlab.pages.words import Words

    words = Words(lang)
    if not options.quiet:  # at once: what follows waits for imports
        ERR.print(words("demo_first"), style="bold")
    from bnlab.runfolder.finding import runs_root

    folder = runs_root(options.runs)
    races = _train_pairs(options, words)
    if isinstance(races, int):
        return races
    if not options.quiet:
        ERR.print(words("demo_asking"), style="bold")
    verdicts = _ask(options, folder)
    if isinstance(verdicts, int):
        return verdicts
    if not options.quiet and not options.as_json:
        from bnlab.cli.demo_text import print_cards

        print_cards(verdicts, words)
    with Waiting("Drawing", options.quiet or options.as_json):
        page = _page(races, verdicts, words)
    path = folder / (PAGE if lang == "en" else f"demo.{lang}.html")
    write_page = _written(page, path)
    if options.as_json:
        _print_json(races, verdicts, page, write_page)
    elif not options.quiet:
        from bnlab.cli.demo_text import print_demo

        print_demo(page.sentences, verdicts, write_page, words)
    have_ended = all(summary.status in ENDED for race in races for summary in race.summaries)
    return 0 if have_ended and len(verdicts) == len(STUDIES) else 1


@dataclass(frozen=True)
class TrainedPair:
    """One of the pairs, trained.

    Attributes:
        name: Its sweep in conf/sweep.
        folder: The folder with its runs.
        parts: The arm with the norm and the one without -> the ids of their runs.
        summaries: One per run, in the order of the sweep.
    """

    name: str
    folder: Path
    parts: dict[str, list[str]]
    summaries: "Sequence[RunSummary]"


def _train_pairs(options: SweepOptions, words: "Words") -> list[TrainedPair] | int:
    """Train what is missing of each pair, one after another; return them, or the exit status if they were cut off."""
    from bnlab.runfolder.writable import check_writable
    from bnlab.sweeps.execute import start_workers_early
    from bnlab.sweeps.plan import plan_sweep, prepared

    with Waiting("Checking every run", options.quiet):
        sweeps = {name: plan_sweep([f"sweep={name}"], options.runs) for name in PAIRS}
        missing = {name: sweep.missing(again=options.again) for name, sweep in sweeps.items()}
        for name in (name for name in PAIRS if missing[name]):
            check_writable(sweeps[name].folder)
            start_workers_early(sweeps[name], missing[name], options.jobs)
    trained = []
    for name, sweep in sweeps.items():
        ready = prepared(sweep, again=options.again) if missing[name] else sweep
        found = _train(name, ready, missing[name], options, words)
        if isinstance(found, int):
            return found
        trained.append(found)
    return trained


def _train(name: str, sweep: "Sweep", missing: list[str], options: SweepOptions, words: "Words") -> TrainedPair | int:
    """Train what is missing of one pair, and print its curves; return it, or the exit status if it was cut off."""
    from bnlab.cli.race_view import RaceCurves, open_race_view
    from bnlab.cli.sweep_command import execute_shown
    from bnlab.pages.pair_sentences import name_network
    from bnlab.runfolder.index import by_name, flatten

    norms = {run_id: config.norm.name for run_id, config in sweep.configs.items()}
    parts = {arm: [run_id for run_id, norm in norms.items() if norm == arm] for arm in (FIRST, SECOND)}
    title = name_network(by_name(flatten(next(iter(sweep.configs.values())).as_dict())), words)
    if missing and not options.quiet and not ERR.is_interactive:
        ERR.print(title, markup=False, soft_wrap=True)
    growing = RaceCurves(sweep.folder, parts, words, again=missing if options.again else ())
    result = execute_shown(
        sweep,
        missing,
        options,
        lambda console, sweep, missing: open_race_view(console, title, sweep, missing, growing),
        is_all=False,
    )
    if isinstance(result, int):
        return result
    for run_id, reason in result.reasons.items():
        say_error(f"{run_id}: {reason}")
    if not options.quiet and not options.as_json:
        from bnlab.cli.race_text import print_curves

        print_curves(RaceCurves(sweep.folder, parts, words), title)
    return TrainedPair(name, sweep.folder, parts, result.summaries)


def _ask(options: SweepOptions, runs: Path) -> list[dict[str, Any]] | int:
    """Ask the studies by the rules in their files; return the verdicts, or the exit status if one was cut off."""
    from bnlab.cli.study_command import new_training
    from bnlab.cli.study_running import StoppedError, run_study
    from bnlab.studies.study_history import Asked, seeds_judged
    from bnlab.studies.study_search import find_studies
    from bnlab.training.interruption import interruptible

    verdicts = []
    with interruptible(say_unless(options.quiet)) as interruption:
        training = new_training((), None, options.jobs, options.again, options.quiet, interruption)
        for study in find_studies(list(STUDIES), None):
            asked = Asked(study, "quick", study.file.scales["quick"].seeds, runs)
            try:
                verdicts.append(run_study(replace(asked, seeds=max(asked.seeds, seeds_judged(asked))), training))
            except BnlabError as error:  # a folder that cannot be written to, say: all else is told
                say_error(f"{study.name}: {error}")
            except StoppedError:
                if not options.quiet:
                    say_interrupted(runs)
                return interruption.exit_status
    return verdicts


def _page(races: "Sequence[TrainedPair]", verdicts: "Sequence[dict[str, Any]]", words: "Words") -> "RacePage":
    """Return the page: a sentence and figures for each pair, and the verdicts."""
    from bnlab.pages.pair_sentences import Pair, name_network, say_pair
    from bnlab.pages.race_page import make_race_page, show_race
    from bnlab.results.race import read_race

    shown = []
    for race in races:
        arms = read_race(race.folder, race.parts)
        pair = Pair.of(arms[0], arms[1])
        title, sentence = name_network(pair.settings, words), say_pair(pair, words)
        shown.append(show_race(arms, race.name, words, f"bnlab sweep sweep={race.name}", title, sentence))
    return make_race_page(words("demo_title"), words("demo_lead"), shown, verdicts, words)


def _written(page: "RacePage", path: Path) -> Path | None:
    """Write the page; return its path. A failure is only a warning."""
    from bnlab.pages.race_page import write_race_page

    try:
        write_race_page(page, path)
    except RunError as error:  # a full disk: what was computed is shown all the same
        say_warning(str(error))
        return None
    return path


def _print_json(
    races: "Sequence[TrainedPair]", verdicts: "Sequence[dict[str, Any]]", page: "RacePage", path: Path | None
) -> None:
    for race in races:
        for summary in race.summaries:
            typer.echo(json.dumps(summary.as_dict()))
    for verdict in verdicts:
        typer.echo(json.dumps(verdict, allow_nan=False))
    typer.echo(json.dumps({"sentences": page.sentences, "page": None if path is None else str(path)}))
