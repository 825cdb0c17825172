"""`bnlab runs`: keeping house among runs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, counted
from bnlab.errors import ConfigError
from bnlab.runfolder.short_names import FROM_THE_END

MOST_LISTED = 10
"""Runs that are named before they go."""

app = typer.Typer(
    no_args_is_help=True,
    help="Keep house among runs: [bold]rm[/], [bold]prune[/], [bold]tag[/], [bold]note[/], [bold]mv[/].",
)
SomeRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Runs by name, folder, last, -2; or the name of a sweep.",
        autocompletion=complete_run,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Where = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="Only runs that are so: status=failed · 'test_accuracy<50%'")
]


@app.command()
def rm(runs: SomeRuns, where: Where = None, yes: Yes = False) -> None:
    """Remove runs, after a question: their folders go, with weights and figures.

    [bold]bnlab runs rm last[/]: the run that was trained last

    [bold]bnlab runs rm my_sweep --where 'lr>1'[/]: some runs of a sweep; its command would train them again

    [bold]bnlab runs rm my_sweep[/]: a sweep with all that is in its folder
    """
    _remove(_chosen(runs, where), yes=yes, whole=[] if where else _sweeps(runs))


@app.command()
def prune(
    path: Annotated[
        str | None, typer.Argument(help="A sweep or a folder; all runs without.", autocompletion=complete_run)
    ] = None,
    yes: Yes = False,
) -> None:
    """Remove, after a question, the runs that failed or were interrupted, and are not in training.

    A run with a checkpoint could still resume: the same command would go on from there.
    """
    from bnlab.runfolder.finding import find_folder
    from bnlab.runfolder.index import read_run_rows

    rows = read_run_rows(find_folder(path))
    _remove([Path(row["folder"]) for row in rows if row["status"] in {"failed", "interrupted"}], yes=yes)


@app.command()
def tag(
    tags: Annotated[str, typer.Argument(metavar="TAG", help="A word, or several with commas between.")],
    runs: SomeRuns,
    where: Where = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tags away.")] = False,
) -> None:
    """Mark runs with words: [bold]bnlab runs tag thesis last[/], then [bold]bnlab list runs --where tags=thesis[/]."""
    from bnlab.runfolder.keeping import Marks, read_marks, write_marks

    words = [word.strip() for word in tags.split(",") if word.strip()]
    folders = _chosen(runs, where)
    for folder in folders:
        before = read_marks(folder)
        kept = [word for word in before.tags if word not in words]
        new = kept if remove else list(dict.fromkeys([*before.tags, *words]))
        write_marks(folder, Marks(before.note, tuple(new)))
    ERR.print(f"{counted(len(folders), 'run')} {'without' if remove else 'with'} {', '.join(words)}", style="dim")


@app.command()
def note(
    run: Annotated[str, typer.Argument(help="A run: name, folder, last, -2.", autocompletion=complete_run)],
    text: Annotated[str | None, typer.Argument(help="The note, one line; '' removes it; shown if left out.")] = None,
) -> None:
    """Write a line about a run, which [bold]bnlab list runs[/] shows: [bold]bnlab runs note last 'lr too high?'[/]."""
    from bnlab.runfolder.finding import find_run
    from bnlab.runfolder.keeping import Marks, read_marks, write_marks

    folder = find_run(run).path
    before = read_marks(folder)
    if text is None:
        OUT.print(before.note, markup=False, highlight=False, soft_wrap=True)
        return
    write_marks(folder, Marks(text.removeprefix(FROM_THE_END).strip(), before.tags))


@app.command()
def mv(
    runs: SomeRuns,
    target: Annotated[
        str, typer.Argument(metavar="FOLDER", help="A name among all runs, or a path; made if it is missing.")
    ],
    where: Where = None,
) -> None:
    """Move runs into another folder: [bold]bnlab runs mv last keep[/] moves the last run to runs/keep."""
    from bnlab.runfolder.finding import at_home, runs_root
    from bnlab.runfolder.keeping import move_runs

    is_path = any(sign in target for sign in ("/", os.sep, "~")) or target.startswith(".")
    folder = at_home(target).absolute() if is_path else runs_root() / target
    for place in move_runs(_chosen(runs, where), folder):
        OUT.print(str(place), markup=False, highlight=False, soft_wrap=True)


def _chosen(words: Sequence[str], where: Sequence[str] | None) -> list[Path]:
    """Return the folders of the runs that words name, each once.

    Raises:
        ConfigError: There are none.
    """
    from bnlab.results.query import read_condition
    from bnlab.runfolder.finding import find_folder
    from bnlab.runfolder.index import read_run_rows

    rows = [row for word in words for row in read_run_rows(find_folder(word))]
    conditions = [read_condition(text, rows) for text in where or []]
    found = [Path(row["folder"]) for row in rows if all(condition.holds(row) for condition in conditions)]
    if not found:
        raise ConfigError(f"there is no such run in {', '.join(words)}. Those there are: bnlab list runs")
    return list(dict.fromkeys(found))


def _sweeps(words: Sequence[str]) -> list[Path]:
    """Return the folders of sweeps among those that words name."""
    from bnlab.runfolder.finding import find_folder, is_sweep

    return list(dict.fromkeys(folder for folder in map(find_folder, words) if is_sweep(folder)))


def _remove(folders: Sequence[Path], *, yes: bool, whole: Sequence[Path] = ()) -> None:
    from bnlab.runfolder.keeping import read_marks, remove_runs, size_of

    if not folders:
        ERR.print("No run failed or was interrupted: nothing is removed.", style="dim")
        return
    for folder in folders[:MOST_LISTED]:
        marks = read_marks(folder)
        marked = ", ".join([*marks.tags, *([marks.note] if marks.note else [])])
        ERR.print(f"{folder.name}{f'  ({marked})' if marked else ''}", markup=False, highlight=False, soft_wrap=True)
    if len(folders) > MOST_LISTED:
        ERR.print(f"and {len(folders) - MOST_LISTED} more", style="dim")
    megabytes = sum(map(size_of, [*whole, *(folder for folder in folders if folder.parent not in whole)])) / 1e6
    also = f" and all else in {', '.join(map(str, whole))}" if whole else ""
    if not yes and not _answers_yes(f"Remove {counted(len(folders), 'run')}{also} ({megabytes:.1f} MB)?", input):
        raise ConfigError("nothing was removed. Answer y, or say --yes.")
    remove_runs(folders, whole)
    ERR.print(f"removed: {counted(len(folders), 'run')}, {megabytes:.1f} MB", style="dim", highlight=False)


def _answers_yes(question: str, ask: Callable[[str], str]) -> bool:
    """Return whether the user agrees; where nobody can answer, it is a no."""
    ERR.print(f"{question} [y/N]", end=" ", markup=False, highlight=False)
    try:
        return ask("").strip().lower() in {"y", "yes"}
    except (EOFError, OSError, RuntimeError):  # the input has ended, cannot be read, or was closed
        return False
