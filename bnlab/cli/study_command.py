"""`bnlab study`: a claim, an experiment that can fail, and a verdict."""

import contextlib
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bnlab.cli.command_options import Again, ConfigDir, Jobs, Quiet, Runs
from bnlab.cli.consoles import ERR, Waiting, counted, duration, say_error, say_unless, say_warning
from bnlab.cli.interrupts import say_interrupted
from bnlab.errors import BnlabError, ConfigError

if TYPE_CHECKING:
    from bnlab.cli.study_running import Training
    from bnlab.studies.study_history import Asked
    from bnlab.studies.study_search import Study
    from bnlab.sweeps.plan import Sweep
    from bnlab.sweeps.progress import SweepView
    from bnlab.training.interruption import Interruption

ALLOWED = ("sweep.engine", "device", "threads", "loggers")
"""Words that may be added: they change no result."""

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="Studies, by name, file or statement (S17); all: the article's claims; contested."
    ),
]
Scale = Annotated[
    Literal["quick", "full"], typer.Option("--scale", help="Minutes on a laptop, or the protocol of the literature.")
]
UntilDecided = Annotated[
    bool,
    typer.Option(
        "--until-decided", help="Look at the planned numbers of seeds, such as 5, 10, 20, until there is a verdict."
    ),
]
MoreSeeds = Annotated[int, typer.Option("--more-seeds", min=0, metavar="N", help="Train N seeds more than planned.")]
InMinutes = Annotated[
    float | None, typer.Option("--in-minutes", min=0.0, metavar="M", help="Only what fits into M minutes.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per study.")]
Lang = Annotated[Literal["en", "zh"], typer.Option("--lang", help="The card and the table in English or Chinese.")]


def study(
    names: Names,
    scale: Scale = "quick",
    until_decided: UntilDecided = False,
    more_seeds: MoreSeeds = 0,
    in_minutes: InMinutes = None,
    jobs: Jobs = None,
    again: Again = False,
    lang: Lang = "en",
    quiet: Quiet = False,
    as_json: AsJson = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
) -> None:
    """Ask whether a claim holds: train what is missing, and print verdict, effect and what would change it.

    [bold]bnlab study lr-sensitivity[/]: does batch normalization allow larger learning rates?

    [bold]bnlab study all --in-minutes 10[/]: the claims of the article that fit into ten minutes

    [bold]bnlab study my_study.yaml --until-decided[/]: your own claim, from one file

    [bold]bnlab study definitions --lang zh[/]: the card in Chinese

    The same command again trains what is missing. What there is: bnlab list studies. A page: bnlab report runs/studies.
    """
    words = [name for name in names if "=" in name]
    for word in words:
        if word.partition("=")[0] not in ALLOWED:
            raise ConfigError(
                f"{word}: the settings of a study stand in its file, so that its criterion stays what it was. Besides "
                f"it takes {', '.join(f'{key}=' for key in ALLOWED)}. For your own study copy the file."
            )
    wanted = [name for name in names if name not in words]
    if not wanted:
        raise ConfigError("NAME is missing. What there is: bnlab list studies; all of them: bnlab study all.")
    with Waiting("Reading the studies", quiet or as_json):
        from bnlab.cli import study_running  # noqa: F401  (it waits for what trains)
        from bnlab.runfolder.finding import runs_root
        from bnlab.studies.study_search import find_studies
        from bnlab.training.interruption import interruptible

        studies = find_studies(wanted, config_dir)
    for one in studies:
        one.check_scale(scale)

    folder, given = runs_root(runs), {"--runs": runs, "--config-dir": config_dir}
    with interruptible(say_unless(quiet)) as interruption:
        training = new_training(tuple(words), config_dir, jobs, again, quiet, interruption)
        typed = " --until-decided" * until_decided
        typed += "".join(f" {name} {shlex.quote(str(path))}" for name, path in given.items() if path is not None)
        options = _Options(scale, until_decided, more_seeds, in_minutes, lang, quiet, as_json, folder, typed)
        status = _run_all(studies, training, options)
    raise typer.Exit(interruption.exit_status if interruption.is_asked else status)


@dataclass(frozen=True)
class _Options:
    """The options of the command.

    Attributes:
        scale: The scale of all studies.
        until_decided: Whether to look at each planned number of seeds, until there is a verdict.
        more_seeds: How many seeds more than planned.
        in_minutes: Minutes that the studies must fit into; None: they may take any time.
        lang: The language of cards and tables.
        quiet: Whether to print nothing but errors.
        as_json: Whether to print one JSON object per study.
        runs: The folder of all runs.
        typed: What of the options is to be typed again to get the same verdict; begins with a blank.
    """

    scale: Literal["quick", "full"]
    until_decided: bool
    more_seeds: int
    in_minutes: float | None
    lang: Literal["en", "zh"]
    quiet: bool
    as_json: bool
    runs: Path
    typed: str


def _run_all(studies: "list[Study]", training: "Training", options: _Options) -> int:
    """Run the studies, print each verdict, and the table of all; return the exit status."""
    from bnlab.cli.study_running import StoppedError, run_study, within_minutes

    left_out: list[tuple[Study, float]] = []
    if options.in_minutes is not None:
        studies, left_out = within_minutes(studies, options.scale, options.runs, options.in_minutes)
    verdicts: list[dict[str, Any]] = []
    without: list[str] = []
    status, began = 0, time.monotonic()
    for number, one in enumerate(studies):
        if options.in_minutes is not None and time.monotonic() - began >= 60 * options.in_minutes:
            left_out += [(later, later.file.scales[options.scale].minutes) for later in studies[number:]]
            break
        if not options.quiet:
            _announce(one, number, len(studies), options)
        try:
            verdict = run_study(_asked(one, options), training, until_decided=options.until_decided)
        except (StoppedError, KeyboardInterrupt) as error:
            say_interrupted(options.runs)
            status = 130 if isinstance(error, KeyboardInterrupt) else status
            break
        except BnlabError as error:
            if len(studies) == 1:
                raise
            say_error(f"{one.name}: {error}")
            status = max(status, error.exit_status)
            without.append(one.name)
            continue
        verdicts.append(verdict)
        _print_verdict(verdict, len(studies), options)
    if not options.quiet:
        _print_end(verdicts, len(studies), left_out, options)
        if without:
            have = "has" if len(without) == 1 else "have"
            said = f"{counted(len(without), 'study', 'studies')} {have} no verdict (see the errors above)"
            say_warning(f"{said}: {', '.join(without)}")
    return status


def _asked(one: "Study", options: _Options) -> "Asked":
    """Return a study with the seeds that are asked for: as planned, and never fewer than were judged before."""
    from bnlab.studies.study_history import Asked, seeds_judged

    seeds = max(one.file.looks) if options.until_decided else one.file.scales[options.scale].seeds
    more = 0 if all(condition.law for condition in one.file.conditions) else options.more_seeds
    asked = Asked(one, options.scale, seeds + more, options.runs, options.typed)
    return replace(asked, seeds=max(asked.seeds, seeds_judged(asked)))


def _print_verdict(verdict: dict[str, Any], num_studies: int, options: _Options) -> None:
    from rich.text import Text

    from bnlab.cli.study_text import one_line, print_study
    from bnlab.pages.words import Words

    if options.as_json:
        typer.echo(json.dumps(verdict, allow_nan=False))
    elif not options.quiet and num_studies > 1:
        line = one_line(verdict, Words(options.lang))
        ERR.print(Text(f"  {line}; {duration(verdict['seconds_wall'])}"), soft_wrap=True)
    elif not options.quiet:
        print_study(verdict, Words(options.lang))


def _print_end(
    verdicts: list[dict[str, Any]], num_studies: int, left_out: "list[tuple[Study, float]]", options: _Options
) -> None:
    """Print the table of several verdicts, what was left out, and how to make a page."""
    from bnlab.cli.study_text import print_claims
    from bnlab.pages.words import Words

    if not options.as_json and num_studies > 1:
        print_claims(verdicts, Words(options.lang))
    if left_out:
        named = ", ".join(f"{one.name} ({minutes:.2g} min)" for one, minutes in left_out)
        say_warning(f"left out, {counted(len(left_out), 'study', 'studies')} that did not fit: {named}")
    if verdicts and not options.as_json:
        in_chinese = " --lang zh" if options.lang == "zh" else "   (中文: --lang zh)"
        page = f"Page: bnlab report {_shown(options.runs / 'studies')}{in_chinese}"
        ERR.print(page, style="dim", soft_wrap=True)


def _announce(one: "Study", number: int, of: int, options: _Options) -> None:
    from rich.text import Text

    place = f"{number + 1} of {of}  " if of > 1 else ""
    statements = f" ({', '.join(one.file.statements)})" if one.file.statements else ""
    claim = one.file.scales[options.scale].claim or one.file.claim
    said = claim.zh if options.lang == "zh" and claim.zh else claim.en
    ERR.print(Text.assemble((f"{place}{one.name}", "bold"), f"{statements}: {said}"), soft_wrap=not ERR.is_terminal)


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def new_training(
    words: tuple[str, ...],
    config_dir: Path | None,
    jobs: int | None,
    again: bool,
    quiet: bool,
    interruption: "Interruption",
) -> "Training":
    """Return how the runs of studies are trained, with a view on standard error.

    Args:
        words: Further words for each sweep, that change no result.
        config_dir: A folder with the user's own options; None: there is none but ./conf.
        jobs: Processes; None: one per physical core.
        again: Train runs anew that have a result.
        quiet: Show nothing.
        interruption: Asked whether training should stop.
    """
    from bnlab.cli.study_running import Training

    @contextlib.contextmanager
    def open_view(sweep: "Sweep", missing: list[str]) -> "Iterator[SweepView | None]":
        from bnlab.cli.sweep_view import open_sweep_view

        if quiet:
            yield None
            return
        view = open_sweep_view(ERR, sweep, missing)
        with contextlib.closing(view):
            yield view

    def say(line: str) -> None:
        if not quiet:
            ERR.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)

    told: set[str] = set()

    def warn(line: str) -> None:
        if line not in told and not quiet:  # several studies may have the same trouble
            told.add(line)
            say_warning(line)

    return Training(config_dir, words, jobs, again, interruption, open_view, say, warn, is_quiet=quiet)
