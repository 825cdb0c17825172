"""Optuna's samplers and pruners by name, and how a sampler chooses the settings of a trial."""

import importlib.metadata
import importlib.util
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from bnlab.config.complaints import type_fault
from bnlab.config.grammar import DIGITS
from bnlab.config.swept_values import Axis
from bnlab.errors import ConfigError, did_you_mean

OLDEST = 5
"""The oldest major version of Optuna that this module works with."""

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "grid": "GridSampler",
    "brute_force": "BruteForceSampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
}
NEEDS_LISTS = frozenset({"grid", "brute_force"})
"""Samplers that try every combination once, and so cannot choose from an interval of real numbers."""


def import_optuna() -> Any:
    """Return the package.

    Raises:
        ConfigError: It is not installed, or too old.
    """
    cure = "Install it by pip install --upgrade 'bnlab[optuna]'."
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(f"hydra/sweeper=optuna is not installed. {cure}")
    version = importlib.metadata.version("optuna")
    if int(version.partition(".")[0]) < OLDEST:
        raise ConfigError(f"hydra/sweeper=optuna needs Optuna {OLDEST} or newer, got {version}. {cure}")
    import optuna  # noqa: PLC0415  (an extra, and it takes a second)

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of each trial, and so does bnlab
    return optuna


def build_pruner(name: str, options: Mapping[str, Any]) -> Any:
    """Return a pruner of Optuna's.

    Args:
        name: A key of `PRUNERS`.
        options: Arguments of its class, by name.

    Raises:
        ConfigError: There is no such pruner or option, or an option has a value that the pruner cannot take.
    """
    return _build("pruner", name, options, {"wrapped_pruner": None} if name == "patient" else {})


def build_sampler(name: str, options: Mapping[str, Any], seed: int, axes: Sequence[Axis]) -> Any:
    """Return a sampler of Optuna's.

    Args:
        name: A key of `SAMPLERS`.
        options: Arguments of its class, by name.
        seed: The seed of its random numbers, from 0 to 4294967295.
        axes: The settings that it chooses.

    Raises:
        ConfigError: There is no such sampler or option, or an option has a value that the sampler cannot take.
    """
    more: dict[str, Any] = {"seed": seed}
    if name == "grid":
        more["search_space"] = {axis.key: list(choices(axis)) for axis in axes}
    return _build("sampler", name, options, more)


def choices(axis: Axis) -> Sequence[Any]:
    """Return the values that an axis has; those of an interval are whole numbers."""
    if not axis.is_interval:
        return axis.values
    low, high = map(int, axis.values)
    return range(low, high + 1)


def _build(kind: str, name: str, given: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    """Return an object of one of Optuna's classes.

    Args:
        kind: Which of the two it is: ``sampler`` or ``pruner``.
        name: The name of the class in `SAMPLERS` or `PRUNERS`.
        given: The arguments of the class that the user gives, by name.
        more: The arguments that bnlab gives.

    Raises:
        ConfigError: It cannot be built.
    """
    optuna = import_optuna()
    known = SAMPLERS if kind == "sampler" else PRUNERS
    word = f"hydra.sweeper.{kind}"
    if name not in known:
        raise ConfigError(f"{word}={name} is not known. {did_you_mean(name, known)}")
    place = getattr(optuna, f"{kind}s")
    parameters = inspect.signature(getattr(place, known[name])).parameters
    for option, value in given.items():
        _check_option(word, name, option, value, parameters)
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in {*given, *more}:
            raise ConfigError(f"{word}={name} needs {word}.{option}. Write {word}.{option}=VALUE besides.")
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise ConfigError(f"{word}=cmaes needs the package cmaes. Install it by pip install 'bnlab[optuna]'.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class is experimental, or the option is to go in a later version
        try:
            return getattr(place, known[name])(**given, **more)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{word}={name}: {str(error).strip().splitlines()[0].rstrip('.')}.") from None


def _check_option(word: str, name: str, option: str, value: Any, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Check one option of a sampler or a pruner.

    Raises:
        ConfigError: There is no such option, or it has a value of a wrong type.
    """
    types = {one: TypeAdapter(parameter.annotation) for one, parameter in parameters.items()}
    types = {one: adapter for one, adapter in types.items() if adapter.pydantic_complete}  # others take Python objects
    if option not in types:
        cure = did_you_mean(option, types) if types else "It has no options."
        raise ConfigError(f"{word}.{option} is not a setting of {word}={name}. {cure}")
    if fault := type_fault(value, types[option]):
        raise ConfigError(f"{word}.{option} {fault}")


def suggest(trial: Any, axis: Axis) -> Any:
    """Return the value of a setting in a trial, chosen now if it has none yet.

    Args:
        trial: A trial of Optuna's that has not been told.
        axis: The setting, and the values that it may have.
    """
    if not axis.is_interval:
        return trial.suggest_categorical(axis.key, axis.values)
    if not axis.is_real_interval:
        low, high = map(int, axis.values)
        return trial.suggest_int(axis.key, low, high, log=axis.is_log)
    start, end = map(float, axis.values)
    return trial.suggest_float(axis.key, start, end, log=axis.is_log)


def typed(params: Mapping[str, Any]) -> dict[str, str]:
    """Return chosen values as one would type them; a choice is a word already.

    Example:
        >>> typed({"optim.lr": 0.123456789, "norm": "batch", "model.depth": 2})
        {'optim.lr': '0.123457', 'norm': 'batch', 'model.depth': '2'}
    """
    return {key: f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value) for key, value in params.items()}
