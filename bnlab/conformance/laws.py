"""All laws in the order in which they are judged, and the functions that test a layer against them."""

from collections.abc import Collection, Mapping
from typing import Any

from bnlab.conformance.behavior_laws import BEHAVIOR_LAWS
from bnlab.conformance.direction_laws import DIRECTION_LAWS
from bnlab.conformance.formula_laws import FORMULA_LAWS
from bnlab.conformance.gradient_laws import GRADIENT_LAWS
from bnlab.conformance.large_laws import LARGE_LAWS
from bnlab.conformance.law_results import Law, NotApplicableError, Report, Verdict, fails
from bnlab.conformance.layer_building import Build, builder
from bnlab.conformance.layout_laws import LAYOUT_LAWS
from bnlab.conformance.number_laws import NUMBER_LAWS
from bnlab.conformance.observing import eps_of
from bnlab.conformance.running_laws import RUNNING_LAWS
from bnlab.conformance.slope_laws import SLOPE_LAWS
from bnlab.conformance.state_laws import STATE_LAWS
from bnlab.conformance.subject import LayerError, Subject, first_line, open_subject
from bnlab.errors import ConfigError, did_you_mean

LAWS: tuple[Law, ...] = (
    *BEHAVIOR_LAWS[:1],
    *FORMULA_LAWS,
    *DIRECTION_LAWS,
    *GRADIENT_LAWS,
    *SLOPE_LAWS,
    *RUNNING_LAWS,
    *NUMBER_LAWS,
    *LARGE_LAWS,
    *BEHAVIOR_LAWS[1:],
    *LAYOUT_LAWS,
    *STATE_LAWS,
)


def check_named(
    name: str,
    options: Mapping[str, Any] | None = None,
    like: str | None = None,
    only: Collection[str] | None = None,
) -> Report:
    """Test a layer against the laws.

    Args:
        name: A name of the catalog, or ``package.module:Class``.
        options: Options for the layer's constructor; None: its defaults.
        like: The family of norms whose laws apply; None: the family that the layer declares, else BatchNorm's.
        only: Names of laws to judge, as in `check`; None: all laws.

    Raises:
        ConfigError: The layer, one of its options, the family or a law is not known.

    Example:
        >>> check_named("torch.nn:BatchNorm1d").facts["momentum"]
        '0.1 is the share of the new value, as in PyTorch'
    """
    return check(builder(name, options or {}), name, like, only)


def check(build: Build, name: str, like: str | None = None, only: Collection[str] | None = None) -> Report:
    """Test the layer that a function builds against the laws.

    Args:
        build: Builds a layer for a number of channels.
        name: What the report calls the layer.
        like: The family of norms whose laws apply; None: the family that the layer declares, else BatchNorm's.
        only: Names of laws to judge, together with the laws that these rely on; None: all laws. Verdicts are the same
            as in a check of all laws.

    Raises:
        ConfigError: The layer cannot be built for any number of channels, or the family or a law is not known.
    """
    first, *others = LAWS if only is None else [LAWS[0], *_with_what_they_rely_on(only)]
    subject = open_subject(build, like)
    verdicts = {first.name: _judge(first, subject)}
    runs = subject.findings.get("gives numbers", False)
    skipped = Verdict("does not apply", "it gives no numbers" if subject.shapes else "it takes no input")
    verdicts |= {law.name: _judge(law, subject) if runs else skipped for law in others}
    if runs:
        subject.facts["affine"] = ", ".join(subject.affine.names) or "none"
        if subject.claims.formula is not None:
            eps_of(subject)  # adds it to the facts, if no law has asked for it
    return Report(name, subject.claims.formula, verdicts, subject.facts)


def _with_what_they_rely_on(names: Collection[str]) -> list[Law]:
    """Return the named laws and those that they rely on, also indirectly, in the order of `LAWS`, without the first.

    Raises:
        ConfigError: A name is not that of a law.
    """
    known = [law.name for law in LAWS]
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no law '{name}'. {did_you_mean(name, known)}")
    wanted = set(names)
    for law in reversed(LAWS):  # a law relies on laws before it
        if law.name in wanted:
            wanted.update(law.relies_on)
    return [law for law in LAWS[1:] if law.name in wanted]


def _judge(law: Law, subject: Subject) -> Verdict:
    try:
        return law.judge(subject)
    except LayerError as crash:
        return fails(f"it crashes: {crash.line}", crash.example)
    except NotApplicableError as reason:
        return Verdict("does not apply", str(reason))
    except Exception as error:  # what no law expects of a layer is no reason to judge nothing of it
        return Verdict("does not apply", f"it cannot be tested on this layer: {first_line(error)}")
