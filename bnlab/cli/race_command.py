"""`bnlab race`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bnlab.cli.command_options import MARK, Again, ConfigDir, Jobs, Quiet, Runs, SweepOptions, overrides_argument
from bnlab.cli.consoles import Waiting, say_warning
from bnlab.cli.sweep_figures import Pictures, say_ending, shared
from bnlab.errors import BnlabError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from bnlab.cli.next_command import NextCommand
    from bnlab.results.arms import Arm
    from bnlab.sweeps.execute import SweepResult
    from bnlab.sweeps.plan import Sweep
    from bnlab.sweeps.progress import ClosingView
    from bnlab.sweeps.race_words import RaceWords

PAGES = {"en": "race.html", "zh": "race.zh.html"}
"""The name of the page in the folder of the runs, by language."""

Arms = Annotated[
    list[str] | None,
    overrides_argument("Arms: words of the config whose key another argument has too. All else is shared by all arms."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per run, arm by arm.")]
Lang = Annotated[Literal["en", "zh"], typer.Option("--lang", help="The page in English or Chinese.")]


def race(
    overrides: Arms = None,
    jobs: Jobs = None,
    again: Again = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
    lang: Lang = "en",
) -> None:
    """Train arms of your own side by side, and watch their curves grow.

    [bold]bnlab race norm=batch norm=none[/]: two arms; each word whose key another one has is an arm

    [bold]bnlab race norm=batch norm=layer norm=none model.activation=sigmoid 'seed=range(3)'[/]: what no other word has
    is shared by all

    [bold]bnlab race "norm=batch optim.lr=1" "norm=none optim.lr=0.1" train.steps=300[/]: arms of several words

    [bold]bnlab race norm=none model.depth=5 -- train.steps=300[/]: all before -- are arms, all behind it is shared

    The same command again shows what is there, and trains what is missing. The runs are a sweep like any other.
    """
    typed, place = overrides or [], (overrides or []).index(MARK) if MARK in (overrides or []) else None
    behind = None if place is None else [word for word in typed[place:] if word != MARK]
    with Waiting("Reading the arms", quiet or as_json):
        from bnlab.sweeps.race_words import read_race_words

        words = read_race_words(typed[:place], behind, config_dir)
    options = SweepOptions(  # the page of a race is another one than that of a sweep
        runs, config_dir, jobs, again=again, quiet=quiet, as_json=as_json, figures=False, command="race"
    )
    raise typer.Exit(_run(words, options, lang))


def _run(words: "RaceWords", options: SweepOptions, lang: Literal["en", "zh"]) -> int:
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

        curves = RaceCurves(sweep.folder, parts, Words("en"), again=missing if options.again else ())
        return open_race_view(console, _title(sweep.folder, parts), sweep, missing, curves)

    def show(result: "SweepResult") -> None:
        _show(result, parts, words, options, lang)

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


def _title(folder: Path, parts: "Mapping[str, Sequence[str]]") -> str:
    """Return what stands above the curves."""
    from bnlab.pages.race_title import race_title
    from bnlab.pages.words import Words

    return race_title(folder.name, list(parts), Words("en"))


def _show(
    result: "SweepResult",
    parts: "Mapping[str, Sequence[str]]",
    words: "RaceWords",
    options: SweepOptions,
    lang: Literal["en", "zh"],
) -> None:
    """Print the curves and a table, write the page, and say what to type next; or one JSON object per run."""
    if options.as_json:
        by_id = {summary.run_id: summary for summary in result.summaries}
        for name in (name for names in parts.values() for name in names):
            typer.echo(json.dumps(by_id[name].as_dict()))
        return
    if options.quiet:
        return
    from bnlab.cli.arm_tables import print_arms
    from bnlab.cli.next_command import command_line
    from bnlab.cli.race_text import print_curves
    from bnlab.cli.race_view import RaceCurves
    from bnlab.cli.sweep_tables import print_troubles
    from bnlab.pages.words import Words
    from bnlab.results.arms import SEED
    from bnlab.results.race import read_race

    arms = read_race(result.folder, parts)
    print_curves(RaceCurves(result.folder, parts, Words("en")), _title(result.folder, parts))
    print_arms(arms, [SEED])
    print_troubles(result, set(result.reasons))
    pictures = _leave_pictures(arms, result.folder, command_line(typed_words(words), options), lang)
    say_ending(result.folder, pictures, _following(arms, result.folder, words, options))


def typed_words(words: "RaceWords", *more: str) -> list[str]:
    """Return the arguments of a race: its arms, and the words that all share.

    Args:
        words: The arms, and the shared words.
        *more: Further shared words; one of them wins over one of the same key.
    """
    from bnlab.cli.next_command import without

    others = without(words.shared, *(word.partition("=")[0] for word in more))
    return [*(" ".join(arm) for arm in words.arms.values()), *(["--"] if words.has_mark else []), *others, *more]


def _leave_pictures(arms: "Sequence[Arm]", folder: Path, command: str, lang: Literal["en", "zh"]) -> Pictures:
    """Draw the figure of the race and write its page beside its runs; a failure is only a warning."""
    try:
        with Waiting("Drawing"):
            from bnlab.pages.race_page import make_race_page, show_race, write_race_page
            from bnlab.pages.race_title import race_title
            from bnlab.pages.words import Words
            from bnlab.report.training_curves import NAME, read_arm_curves, write_training_curves
            from bnlab.results.sweep import read_sweep
            from bnlab.runfolder.figure_paths import figure_path

            owner = shared(read_sweep(folder))
            paths = write_training_curves(read_arm_curves(arms), owner, lambda kind: figure_path(folder, NAME, kind))
            words = Words(lang)
            title = race_title(folder.name, [arm.label for arm in arms], words)
            lead = words("race_lead", arms=len(arms))
            page = make_race_page(title, lead, [show_race(arms, "r", words, command)], [], words)
            write_race_page(page, folder / PAGES[lang])
    except (BnlabError, OSError) as error:  # a full disk: what was computed has been shown
        say_warning(f"the figures of the race could not be written: {error}")
        return Pictures()
    return Pictures(tuple(path for path in paths if path.suffix == ".png"), folder / PAGES[lang])


def _following(arms: "Sequence[Arm]", folder: Path, words: "RaceWords", options: SweepOptions) -> "NextCommand | None":
    """Return what to type next: what is missing, more seeds, or a verdict on the first two arms."""
    from bnlab.cli.next_command import ENOUGH_SEEDS, NextCommand, as_text, as_word, command_line, enough_seeds
    from bnlab.results.sweep import read_sweep

    cells = [cell for arm in arms for cell in arm.cells]
    num_missing = sum(sum(cell.num_missing.values()) for cell in cells)
    if num_missing or not cells:
        return NextCommand(command_line(typed_words(words), options), "trains what is missing")
    num_seeds = min(len(cell.outcomes) for cell in cells)
    if num_seeds < ENOUGH_SEEDS:
        seeds = enough_seeds(run.seed for cell in cells for run in cell.runs)
        more = typed_words(words, f"name={as_text(folder.name)}", f"seed={as_word(seeds)}")
        return NextCommand(command_line(more, options), f"{len(seeds)} seeds; the runs that are there are kept")
    found = {frozenset(_ids(arm)): arm.folder_name for arm in read_sweep(folder).read_arms().arms}
    first, second = (found.get(frozenset(_ids(arm))) for arm in arms[:2])
    if not (first and second):
        return None  # arms of a sweep do not differ in the learning rate alone
    runs = [] if options.runs is None else ["--runs", str(options.runs)]
    line = shlex.join(["bnlab", "judge", folder.name, "--arms", f"{first},{second}", *runs])
    return NextCommand(line, f"a verdict on {arms[0].label} and {arms[1].label}, seed by seed")


def _ids(arm: "Arm") -> list[str]:
    return [run.row["run_id"] for cell in arm.cells for run in cell.runs if run.row is not None]
