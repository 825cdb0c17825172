"""`bnlab race`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.command_options import MARK, Again, ConfigDir, Quiet, Runs, SweepOptions, overrides_argument
from bnlab.cli.consoles import ERR, say_warning
from bnlab.errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from bnlab.results.arms import Arm
    from bnlab.sweeps.execute import SweepResult
    from bnlab.sweeps.plan import Sweep
    from bnlab.sweeps.progress import ClosingView
    from bnlab.sweeps.race_words import RaceWords

ENOUGH_SEEDS, MORE_SEEDS = 3, "seed=range(5)"
"""Seeds from which on a verdict has an interval, so that one can be proposed; and the word that is proposed before."""

PAGE = "race.html"
"""The name of the page in the folder of the runs."""

Arms = Annotated[
    list[str] | None,
    overrides_argument("Arms: words of the config whose key another argument has too. All else is shared by all arms."),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes (default: one per physical core).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per run, arm by arm.")]


def race(
    overrides: Arms = None,
    jobs: Jobs = None,
    again: Again = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
) -> None:
    """Train arms of your own side by side, and watch their curves grow.

    [bold]bnlab race norm=batch norm=none[/]: two arms; each word whose key another one has is an arm

    [bold]bnlab race norm=batch norm=layer norm=none model.activation=sigmoid 'seed=range(3)'[/]: what no other word has
    is shared by all

    [bold]bnlab race "norm=batch optim.lr=1" "norm=none optim.lr=0.1" train.steps=300[/]: arms of several words

    [bold]bnlab race norm=none model.depth=5 -- train.steps=300[/]: all before -- are arms, all behind it is shared

    The same command again shows what is there, and trains what is missing. The runs are a sweep like any other.
    """
    from bnlab.sweeps.race_words import read_race_words

    typed, place = overrides or [], (overrides or []).index(MARK) if MARK in (overrides or []) else None
    behind = None if place is None else [word for word in typed[place:] if word != MARK]
    words = read_race_words(typed[:place], behind, config_dir)
    options = SweepOptions(runs, config_dir, jobs, again=again, quiet=quiet, as_json=as_json)
    raise typer.Exit(_run(words, options))


def _run(words: "RaceWords", options: SweepOptions) -> int:
    """Plan the race, train what is missing, print its end; return the exit status."""
    from bnlab.cli.sweep_command import run
    from bnlab.sweeps.plan import plan_arms

    parts: dict[str, list[str]] = {}

    def plan() -> "Sweep":
        sweep = plan_arms(words.commands, options.runs, options.config_dir)
        parts.update(zip(words.arms, sweep.parts, strict=True))
        _refuse_equal_arms(parts)
        return sweep

    def open_view(console: "Console", sweep: "Sweep", missing: "Sequence[str]") -> "ClosingView":
        from bnlab.cli.race_view import RaceCurves, open_race_view
        from bnlab.pages.words import Words

        curves = RaceCurves(sweep.folder, parts, Words("en"))
        return open_race_view(console, sweep.folder.name, sweep, missing, curves)

    def show(result: "SweepResult") -> None:
        _show(result, parts, words, options)

    return run([], options, show_result=show, plan=plan, open_view=open_view)


def _refuse_equal_arms(parts: "Mapping[str, Sequence[str]]") -> None:
    """Raise if two arms are the same runs.

    Raises:
        ConfigError: They are.
    """
    seen: dict[str, str] = {}
    for label, names in parts.items():
        for name in names:
            if name in seen:
                raise ConfigError(
                    f"the arms {seen[name]} and {label} are the same runs: what tells them apart is the default. "
                    "Leave one of them out."
                )
            seen[name] = label


def _show(
    result: "SweepResult", parts: "Mapping[str, Sequence[str]]", words: "RaceWords", options: SweepOptions
) -> None:
    """Print the curves and a table, write the page, and say what to type next; or one JSON object per run."""
    if options.as_json:
        by_id = {summary.run_id: summary for summary in result.summaries}
        for name in (name for names in parts.values() for name in names):
            typer.echo(json.dumps(by_id[name].as_dict()))
        return
    if options.quiet:
        return
    from bnlab.cli.race_text import print_arms, print_curves
    from bnlab.cli.race_view import RaceCurves
    from bnlab.cli.sweep_tables import print_troubles
    from bnlab.pages.words import Words
    from bnlab.results.race import read_race

    arms = read_race(result.folder, parts)
    print_curves(RaceCurves(result.folder, parts, Words("en")), result.folder.name)
    print_arms(arms)
    print_troubles(result, set(result.reasons))
    command = command_of(words)
    page = _write_page(arms, result.folder, command)
    if page is not None:
        say_line("Page", near(page))
    say_line("Next", _next(result.folder, parts, words), is_strong=True)


def command_of(words: "RaceWords", *more: str) -> str:
    """Return the command of a race as one types it.

    Args:
        words: The words of its arms, and the shared ones.
        *more: Further shared words; one of them wins over one of the same key.
    """
    keys = {word.partition("=")[0] for word in more}
    shared = [word for word in words.shared if word.partition("=")[0] not in keys]
    arms = [" ".join(arm) for arm in words.arms.values()]
    behind = ["--"] if words.has_mark else []
    return shlex.join(["bnlab", "race", *arms, *behind, *shared, *more])


def _write_page(arms: "Sequence[Arm]", folder: Path, command: str) -> Path | None:
    """Write the page of the race beside its runs; return its path. A failure is only a warning."""
    from bnlab.pages.race_page import make_race_page, show_race, write_race_page
    from bnlab.pages.words import Words

    words = Words("en")
    title, lead = words("race_title", name=folder.name), words("race_lead", arms=len(arms))
    page = make_race_page(title, lead, [show_race(arms, "r", words, command)], [], words)
    try:
        write_race_page(page, folder / PAGE)
    except RunError as error:  # a full disk: what was computed has been shown
        say_warning(str(error))
        return None
    return folder / PAGE


def _next(folder: Path, parts: "Mapping[str, Sequence[str]]", words: "RaceWords") -> str:
    """Return what to type next: more seeds, a verdict on the first two arms, or the dashboard."""
    if max(map(len, parts.values())) < ENOUGH_SEEDS:
        return f"{command_of(words, MORE_SEEDS)}   (five seeds, to tell a difference from chance)"
    from bnlab.results.sweep import read_sweep

    found = {frozenset(_ids(arm)): arm.folder_name for arm in read_sweep(folder).read_arms().arms}
    first, second = (found.get(frozenset(names)) for names in list(parts.values())[:2])
    if first and second:
        return shlex.join(["bnlab", "judge", folder.name, "--arms", f"{first},{second}"])
    return shlex.join(["bnlab", "dashboard", folder.name])


def _ids(arm: "Arm") -> list[str]:
    return [run.row["run_id"] for cell in arm.cells for run in cell.runs if run.row is not None]


def say_line(name: str, text: str, *, is_strong: bool = False) -> None:
    """Print a name and what it stands for, on standard error.

    Args:
        name: Such as ``Page``.
        text: Such as its path.
        is_strong: Whether it is meant to be typed.
    """
    ERR.print(f"{name:6}", style="bold", end="")
    ERR.print(text, style="" if is_strong else "dim", markup=False, soft_wrap=True)


def near(path: Path) -> str:
    """Return a path as it is typed here: relative to the current folder where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
