"""What to type next, once a sweep has ended."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.consoles import counted
from bnlab.results.arms import Arm, SweepArms
from bnlab.results.instruments import asked_instruments, last_values
from bnlab.results.sweep import SweepRuns

ENOUGH_SEEDS = 5
"""Seeds from which on an interval says something: with 3, Student's is 4.3 standard errors to each side."""


@dataclass(frozen=True)
class NextCommand:
    """A line to type, and what it does.

    Attributes:
        line: The line, quoted for a shell.
        why: What it gives, in a few words.
    """

    line: str
    why: str


def next_command(sweep: SweepRuns, found: SweepArms, words: Sequence[str], options: SweepOptions) -> NextCommand | None:
    """Return what to type after a sweep; None where nothing can be said.

    What is missing comes first, then seeds, without which there is no interval, then a verdict on the first two arms
    (not on those that look best: to choose them by their results would decide the verdict).

    Args:
        sweep: The sweep's folder, as read.
        found: Its arms.
        words: The words of its command.
        options: The options of its command.
    """
    arms = [arm for arm in found.arms if arm.compared]
    if found.num_missing:
        return NextCommand(command_line(words, options), f"trains what is missing: {counted(found.num_missing, 'run')}")
    if not arms:
        return None
    num_seeds = min(len(best.cell.outcomes) for arm in arms if (best := arm.best()) is not None)
    name = f"name={as_text(sweep.folder.name)}"
    if num_seeds < ENOUGH_SEEDS:
        seeds = enough_seeds(run.seed for arm in arms for cell in arm.cells for run in cell.runs)
        line = command_line([*without(words, "seed", "name"), name, f"seed={as_word(seeds)}"], options)
        has = "1 seed has no interval" if num_seeds == 1 else f"{num_seeds} seeds leave it wide"
        return NextCommand(line, f"{len(seeds)} seeds; {has}, and runs that are there are kept")
    if len(arms) > 1:
        return _verdict(sweep, arms, options)
    norm = sweep.rows[0].get("norm") or "batch"
    if any(word.startswith("norm.") for word in words):  # the other norm may not have this option
        return None
    other = "batch" if norm == "none" else "none"
    line = command_line([*without(words, "norm", "name"), name, f"norm={norm},{other}"], options)
    return NextCommand(line, "an arm to compare with")


def enough_seeds(trained: Iterable[int]) -> list[int]:
    """Return the seeds that were trained, and others, so that there are enough.

    Example:
        >>> enough_seeds([0, 3]), enough_seeds([5, 6, 7]), enough_seeds([0, 7])
        ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [0, 7, 8, 9, 10])
    """
    seeds = set(trained)
    if seeds <= set(range(ENOUGH_SEEDS)):
        return list(range(ENOUGH_SEEDS))
    behind = max(seeds) + 1
    return sorted(seeds.union(range(behind, behind + ENOUGH_SEEDS - len(seeds))))


def as_word(seeds: Sequence[int]) -> str:
    """Return seeds as Hydra reads several values.

    Example:
        >>> as_word([0, 1, 2]), as_word([5, 6]), as_word([0, 7])
        ('range(3)', 'range(5,7)', '0,7')
    """
    first, behind = seeds[0], seeds[-1] + 1
    if len(seeds) < behind - first:
        return ",".join(map(str, seeds))
    return f"range({first},{behind})" if first else f"range({behind})"


def _verdict(sweep: SweepRuns, arms: Sequence[Arm], options: SweepOptions) -> NextCommand:
    first, second = arms[:2]
    names = [] if len(arms) == 2 else ["--arms", f"{first.folder_name},{second.folder_name}"]
    metric = _metric(sweep, arms)
    runs = [] if options.runs is None else ["--runs", str(options.runs)]
    line = shlex.join(["bnlab", "judge", sweep.folder.name, *names, *metric, *runs])
    what = metric[1] if metric else "test accuracy"
    return NextCommand(line, f"a verdict on {first.label} and {second.label}: {what}, seed by seed")


def _metric(sweep: SweepRuns, arms: Sequence[Arm]) -> list[str]:
    """Return the options that name what the sweep was made to measure; none where that is accuracy."""
    asked = asked_instruments(sweep)
    if asked:
        shared = [set(last_values(arm, asked)) for arm in arms[:2]]
        for key in last_values(arms[0], asked):
            if all(key in keys for keys in shared):
                return ["--metric", key, "--sesoi", "0"]
    if not any(row.get("test_accuracy") is not None for row in sweep.rows):
        return ["--metric", "test_loss"]
    return []


def command_line(words: Sequence[str], options: SweepOptions) -> str:
    """Return the command that was typed with some words, and with the options that its runs depend on.

    Args:
        words: The words of the config; one with blanks is one argument.
        options: The options of the command.
    """
    places = [("--runs", options.runs), ("--config-dir", options.config_dir)]
    told = [part for name, value in places if value is not None for part in (name, str(value))]
    return shlex.join(["bnlab", options.command, *words, *told])


def as_text(name: str) -> str:
    """Return the name of a sweep as Hydra reads it as text: eight digits would be a number, and so would 12e45678.

    Args:
        name: The name of its folder.
    """
    try:
        float(name)
    except ValueError:
        return f"'{name}'" if name.lower() in {"null", "true", "false"} else name
    return f"'{name}'"


def without(words: Sequence[str], *keys: str) -> list[str]:
    """Return words without those that set some keys.

    Args:
        words: Words of the config.
        *keys: Dotted keys.
    """
    return [word for word in words if word.partition("=")[0] not in keys]
