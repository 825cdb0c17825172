"""`bnlab list sweeps` and `bnlab list schedules`."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from bnlab.cli.command_options import ConfigDir, Runs
from bnlab.cli.consoles import OUT, new_table, print_rows, print_table, say_warning
from bnlab.cli.list_runs import AsCsv, AsJson
from bnlab.errors import ConfigError

_WORDS = {None: "null", True: "true", False: "false"}

MOST_LETTERS = 90
"""Letters of a sweep's words in the table; --json has all of them."""

SCHEDULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "constant": ("optim.lr at every step.", ("warmup_share",)),
    "cosine": ("Half a cosine from optim.lr down to 0.", ("warmup_share",)),
    "step": (
        "optim.lr times step_factor for each milestone that has passed.",
        ("warmup_share", "milestones", "step_factor"),
    ),
    "one_cycle": ("Up from start_factor to optim.lr at peak_at, then down to 0.", ("peak_at", "start_factor")),
}
"""Name of a schedule -> what the learning rate does, and the settings that it reads."""


def sweeps(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None, root: Runs = None) -> None:
    """List the sweeps: those of files, [bold]bnlab sweep sweep=NAME[/], and those in the folder of runs.

    [bold]bnlab list sweeps[/]: both

    [bold]bnlab list sweeps --json[/]: with all words of each, for a program
    """
    rows = [*_of_files(config_dir), *_kept(root)]
    if print_rows(rows, as_json, as_csv):
        return
    files = [row for row in rows if row["kind"] == "file"]
    kept = [row for row in rows if row["kind"] == "kept"]
    table = new_table("sweep of a file", "what it asks")
    for row in files:
        table.add_row(Text(row["name"], "bold"), Text(row["description"]))
    print_table(table)
    if not kept:
        OUT.print("No sweep has been trained yet.", style="dim")
        return
    table = new_table("trained", "runs", "with a result", "words", right=["runs", "with a result"])
    for row in kept:
        words = textwrap.shorten(row["words"], MOST_LETTERS, placeholder=" ...")
        numbers = str(row["runs"]), str(row["with_result"])
        table.add_row(Text(row["name"], "bold"), *numbers, Text(words, "dim"))
    print_table(table)


def schedules(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the schedules of the learning rate: [bold]bnlab train schedule.name=cosine[/] takes one."""
    from bnlab.config.folders import conf_folder
    from bnlab.config.yaml_files import read_table

    _, table = read_table(conf_folder() / "train.yaml")
    defaults = table["schedule"]
    rows: list[dict[str, Any]] = [
        {"name": name, "description": text, "options": {key: defaults[key] for key in keys}}
        for name, (text, keys) in SCHEDULES.items()
    ]
    if print_rows(rows, as_json, as_csv):
        return
    shown = new_table("schedule.name", "what the learning rate does", "options and their defaults")
    for row in rows:
        options = " ".join(f"schedule.{key}={as_word(value)}" for key, value in row["options"].items())
        usual = "  (the default)" if row["name"] == defaults["name"] else ""
        shown.add_row(Text(row["name"], "bold"), Text(f"{row['description']}{usual}"), Text(options, "dim"))
    print_table(shown)


def _of_files(config_dir: Path | None) -> list[dict[str, Any]]:
    from bnlab.config.folders import read_option, search_folders
    from bnlab.sweeps.sweep_files import as_word as as_words
    from bnlab.sweeps.sweep_files import known_sweeps

    folders = search_folders(config_dir)
    rows = []
    for name in known_sweeps(config_dir):
        try:
            description, keys = read_option(folders, "sweep", name)
        except ConfigError as error:  # a damaged file of the user's: all others are listed
            say_warning(str(error))
            continue
        words = " ".join(f"{key}={as_words(value)}" for key, value in keys.items())
        row = {"kind": "file", "name": name, "description": description.partition("   bnlab ")[0], "words": words}
        rows.append(row | {"runs": None, "with_result": None, "folder": None})
    return rows


def _kept(root: Path | None) -> list[dict[str, Any]]:
    """Return the sweeps in the folder of all runs, in the order of their names."""
    from bnlab.records import ENDED
    from bnlab.results.sweep_plan import read_plan
    from bnlab.runfolder.finding import is_sweep, runs_root
    from bnlab.runfolder.folder import RunFolder

    place = runs_root(root)
    rows = []
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        if not is_sweep(folder):
            continue
        plan = read_plan(folder)
        ended = sum(RunFolder(folder / name).read_status() in ENDED for name in plan.runs if (folder / name).is_dir())
        row = {"kind": "kept", "name": folder.name, "description": "", "words": " ".join(plan.overrides)}
        rows.append(row | {"runs": len(plan.runs), "with_result": ended, "folder": str(folder)})
    return rows


def as_word(value: Any) -> str:
    """Return a value as it is typed behind one key.

    Example:
        >>> as_word([0.5, 0.75]), as_word(None), as_word(0.1)
        ('[0.5,0.75]', 'null', '0.1')
    """
    if isinstance(value, list):
        return f"[{','.join(map(as_word, value))}]"
    return _WORDS[value] if value is None or isinstance(value, bool) else str(value)
