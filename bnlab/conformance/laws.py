"""All laws in their order, and the one function that holds a layer against them."""

from collections.abc import Mapping
from typing import Any

from bnlab.conformance.behavior_laws import BEHAVIOR_LAWS
from bnlab.conformance.formula_laws import FORMULA_LAWS
from bnlab.conformance.gradient_laws import GRADIENT_LAWS
from bnlab.conformance.large_laws import LARGE_LAWS
from bnlab.conformance.law_results import Law, Report, Verdict, fails, passes_over
from bnlab.conformance.layer_building import Build, builder
from bnlab.conformance.number_laws import NUMBER_LAWS
from bnlab.conformance.observing import eps_of
from bnlab.conformance.running_laws import RUNNING_LAWS
from bnlab.conformance.slope_laws import SLOPE_LAWS
from bnlab.conformance.subject import LayerError, Subject, open_subject

LAWS: tuple[Law, ...] = (
    *BEHAVIOR_LAWS[:1],
    *FORMULA_LAWS,
    *GRADIENT_LAWS,
    *SLOPE_LAWS,
    *RUNNING_LAWS,
    *NUMBER_LAWS,
    *LARGE_LAWS,
    *BEHAVIOR_LAWS[1:],
)


def check_named(name: str, options: Mapping[str, Any] | None = None, like: str | None = None) -> Report:
    """Hold a layer against the laws.

    Args:
        name: A name of the catalog, or ``package.module:Class``.
        options: For its constructor.
        like: The family that it is held against; None: what it declares, else BatchNorm.

    Raises:
        ConfigError: No such layer, option or family.

    Example:
        >>> check_named("torch.nn:BatchNorm1d").facts["momentum"]
        '0.1 is the share of the new value, as in PyTorch'
    """
    return check(builder(name, options or {}), name, like)


def check(build: Build, name: str, like: str | None = None) -> Report:
    """Hold what a function builds against the laws.

    Args:
        build: Builds a layer for a number of channels.
        name: What the report calls it.
        like: The family that it is held against; None: what it declares, else BatchNorm.

    Raises:
        ConfigError: It cannot be built for any number of channels, or there is no such family.
    """
    subject = open_subject(build, like)
    verdicts = {LAWS[0].name: _judge(LAWS[0], subject)}
    runs = bool(subject.shapes) and _gives_numbers(subject)
    silence = passes_over("it gives no numbers" if subject.shapes else "it takes no input")
    verdicts |= {law.name: _judge(law, subject) if runs else silence for law in LAWS[1:]}
    if runs:
        _add_facts(subject)
    return Report(name, subject.claims.formula, verdicts, subject.facts)


def _gives_numbers(subject: Subject) -> bool:
    try:
        return subject.gives_numbers
    except LayerError:
        return False


def _judge(law: Law, subject: Subject) -> Verdict:
    try:
        return law.judge(subject)
    except LayerError as crash:
        return fails(f"it crashes: {crash.line}", "", crash.example)


def _add_facts(subject: Subject) -> None:
    names = [name for name in vars(subject.affine).values() if name is not None]
    subject.facts["affine"] = ", ".join(names) or "none"
    if subject.claims.formula is not None:
        eps_of(subject)
