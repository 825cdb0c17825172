"""Overrides with several values -> the configs of a sweep, in order."""

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlab.config.compose import arm_options, compose_grid
from bnlab.config.grammar import MOST_VALUES, parse_overrides
from bnlab.config.swept_values import refuse_a_key_given_twice, sweep_values
from bnlab.errors import ConfigError, did_you_mean
from bnlab.results.swept import swept_keys
from bnlab.runfolder.finding import SINGLE
from bnlab.runfolder.index import by_name, flatten
from bnlab.schema import RunConfig
from bnlab.sweeps.without_effect import find_without_effect

_NOT_IN_THE_NAME = ("device=", "sweep.engine=", "name=")
"""Words of the config that do not change the name of a sweep: where and how it runs, and the name itself."""

BETWEEN = "--"
"""Stands between two commands in what the name of a sweep is made from: the same words may be cut otherwise."""


TAKEN = {
    "last": "the last run, wherever a run is named",
    "comparisons": "the folder of figures of bnlab compare",
    "studies": "the folder of the runs and verdicts of bnlab study",
}
"""Names that a sweep would take away from something else -> what they mean."""


@dataclass(frozen=True)
class Grid:
    """The runs of a sweep.

    Attributes:
        name: The name of the sweep's folder under runs/.
        overrides: The words of the config, as they were typed.
        configs: One config per run, in the order of the sweep.
        swept: The keys in which the runs differ: those that were given several values, and those that an option of the
            user's own changes.
        warnings: One sentence for each thing that the user should know before the sweep starts.
        parts: For each command of which the sweep is made, the places of its configs.
    """

    name: str
    overrides: list[str]
    configs: list[RunConfig]
    swept: list[str]
    warnings: list[str]
    parts: list[list[int]]


def expand(overrides: list[str], config_dir: Path | None = None) -> Grid:
    """Expand a sweep: every combination of the values that the overrides give, the last one changing fastest.

    An option of a norm applies to the arms that have the option; a warning names the other arms.

    Args:
        overrides: Hydra's grammar with sweeps, such as ``["norm=batch,none", "seed=range(3)"]``.
        config_dir: A folder with the user's own options, searched after bnlab's; None: there is none but ./conf.

    Raises:
        ConfigError: The config of a run is wrong, a key is given twice, or the sweep has two names.
    """
    return expand_all([overrides], config_dir)


def expand_all(commands: Sequence[list[str]], config_dir: Path | None = None) -> Grid:
    """Expand several commands into one sweep: the combinations of the first, then those of the next one.

    Args:
        commands: The overrides of each, as for `expand`; the words that all have in common are given in each.
        config_dir: A folder with the user's own options, searched after bnlab's; None: there is none but ./conf.

    Returns:
        The runs of all of them; ``overrides`` has each word once.

    Raises:
        ConfigError: The config of a run is wrong, a command gives a key twice, or the sweep has two names.
    """
    axes_of = [_axes(overrides, config_dir) for overrides in commands]
    axes = [values for of_one in axes_of for values in of_one]
    _refuse_several_names(axes)
    num_combinations = sum(math.prod(map(len, of_one)) for of_one in axes_of)
    if num_combinations > MOST_VALUES:
        raise ConfigError(f"a sweep has {MOST_VALUES:,} runs at most, got {num_combinations:,}. Give fewer values.")
    combinations = [combination for of_one in axes_of for combination in itertools.product(*of_one)]
    wanted = sorted({key for values in axes for text in values if (key := text.partition("=")[0]).startswith("norm.")})
    arms = {_arm(combination) for combination in combinations}
    options = {arm: arm_options(arm, config_dir) if wanted else None for arm in arms}
    warnings = list(dict.fromkeys(_find_repetitions(axes)))
    warnings += [warning for key in wanted if (warning := _check_arms(key, options))]
    kept = [_without_what_it_lacks(combination, options[_arm(combination)]) for combination in combinations]
    # without an option that an arm lacks, two combinations are the same run
    composed = [(config.model_dump_json(), config) for config in compose_grid(kept, config_dir)]
    configs = list(dict(composed).values())
    if configs[0].name == SINGLE:
        raise ConfigError(f"name={SINGLE} is the folder of runs that belong to no sweep. Give the sweep another name.")
    if configs[0].name in TAKEN:
        raise ConfigError(f"name={configs[0].name} means {TAKEN[configs[0].name]}. Give the sweep another name.")
    settings = [by_name(flatten(config.as_dict())) for config in configs]
    words = list(dict.fromkeys(word for overrides in commands for word in overrides))
    swept = swept_keys(settings, words)
    warnings += find_without_effect(settings, swept)
    place = {text: number for number, text in enumerate(dict(composed))}
    places = iter([place[text] for text, _ in composed])
    parts = [list(dict.fromkeys(itertools.islice(places, math.prod(map(len, of_one))))) for of_one in axes_of]
    told = list(commands[0]) + [word for overrides in commands[1:] for word in (BETWEEN, *overrides)]
    return Grid(configs[0].name or sweep_name(told), words, configs, swept, warnings, parts)


def _axes(overrides: list[str], config_dir: Path | None) -> list[list[str]]:
    """Return the values of each word of a command, as words with one value.

    Raises:
        ConfigError: A key is given twice, or a word cannot be read.
    """
    parsed = parse_overrides(overrides)
    refuse_a_key_given_twice(parsed)
    return [sweep_values(one, config_dir) for one in {one.input_line: one for one in parsed}.values()]


def _find_repetitions(axes: Sequence[Sequence[str]]) -> list[str]:
    """Return a sentence for each key that is given a value twice, as somebody does who wants repetitions."""
    counted = [Counter(values).most_common(1)[0] for values in axes]
    return [
        f"{text} is given {number} times, and is one run: the same settings give the same numbers. For repetitions, "
        f"give seeds: seed=range({number})."
        for text, number in counted
        if number > 1
    ]


def _refuse_several_names(axes: Sequence[Sequence[str]]) -> None:
    found = [text.partition("=")[2] for values in axes for text in values if text.startswith("name=")]
    names = list(dict.fromkeys(found))
    if len(names) > 1:
        raise ConfigError(f"name={','.join(names)}: a sweep has one name, its folder's. Give one: name={names[0]}.")


def expand_one(overrides: Sequence[str], config_dir: Path | None = None) -> RunConfig:
    """Return the config of one combination of a sweep's values, without options that its norm lacks.

    Args:
        overrides: Hydra's grammar without sweeps.
        config_dir: A folder with the user's own options, searched after bnlab's; None: there is none but ./conf.

    Raises:
        ConfigError: The config is wrong.
    """
    kept = _without_what_it_lacks(overrides, arm_options(_arm(overrides), config_dir))
    return compose_grid([kept], config_dir)[0]


def _without_what_it_lacks(combination: Sequence[str], own: set[str] | None) -> list[str]:
    return [text for text in combination if own is None or not _is_option(text) or text.partition("=")[0] in own]


def sweep_name(overrides: list[str]) -> str:
    """Return the name of a sweep that was given none: 8 hex digits of what it sweeps over.

    Example:
        >>> sweep_name(["norm=batch,none"]) == sweep_name(["norm=batch,none", "device=cpu"])
        True
    """
    telling = [text for text in overrides if not (text.startswith(_NOT_IN_THE_NAME) or _names_logger(text))]
    return hashlib.sha256(json.dumps(telling).encode()).hexdigest()[:8]


def _names_logger(text: str) -> bool:
    """Whether a word names a logger that came with `bnlab export`: to add one must not train a sweep anew.

    Other words about loggers stay in the name: sweeps of earlier versions have them there.
    """
    return text.startswith("loggers=") and any(name in text for name in ("csv", "mlflow", "wandb", "trackio"))


def _arm(combination: Sequence[str]) -> str:
    chosen = [text.partition("=")[2] for text in combination if text.startswith("norm=")]
    return chosen[-1] if chosen else ""


def _is_option(text: str) -> bool:
    return text.startswith("norm.")


def _check_arms(key: str, options: dict[str, set[str] | None]) -> str | None:
    """Return a warning that names the arms without an option; None: all arms have it.

    Raises:
        ConfigError: No arm has the option.
    """
    without = sorted(arm for arm, known in options.items() if known is not None and key not in known)
    if len(without) == len(options):
        known_keys = {k for known in options.values() if known for k in known}
        where = f"norm={','.join(without)}" if all(without) else "the default norm"
        cure = did_you_mean(key, known_keys) if known_keys else "It has no options."
        raise ConfigError(f"{key} is not a setting with {where}. {cure}")
    return f"{key} does not apply to norm={','.join(without)}, which go without it." if without else None
