"""Laws of the output: it is the formula's, in training mode and in eval mode."""

from dataclasses import replace

from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply
from bnlab.conformance.observing import observe_eval, observe_training, recipe_of, verdict_of
from bnlab.conformance.recipes import Recipe, family_of
from bnlab.conformance.subject import Subject
from bnlab.conformance.suspects import (
    BATCH_IN_EVAL,
    IN_EVAL,
    IN_TRAINING,
    SINGLE,
    WRONG_AXES,
    Case,
    Explanation,
    Suspect,
    agrees,
    explain,
)

OWN_FORMULA = "it has a formula of its own"


def _training_output(subject: Subject) -> Verdict:
    lawful = recipe_of(subject)
    if lawful is None:
        return does_not_apply(OWN_FORMULA)
    cases = observe_training(subject)
    found = explain(cases, lawful, IN_TRAINING)
    subject.findings["output"] = found
    return _verdict(subject, cases, lawful, found, "training mode")


def _eval_output(subject: Subject) -> Verdict:
    lawful = recipe_of(subject)
    if lawful is None:
        return does_not_apply(OWN_FORMULA)
    suspects: list[Suspect] = IN_TRAINING
    if subject.claims.keeps_running_statistics:
        lawful = replace(lawful, source="running")
        suspects = [*IN_EVAL, *WRONG_AXES_OF_BATCH]
    cases = observe_eval(subject)
    verdict = _verdict(subject, cases, lawful, found := explain(cases, lawful, suspects), "eval mode")
    if found is None and subject.claims.keeps_running_statistics and _is_as_in_training(subject, cases):
        return replace(verdict, cause=f"eval mode gives what training mode gives: {BATCH_IN_EVAL.cause}")
    return verdict


def _is_as_in_training(subject: Subject, cases: list[Case]) -> bool:
    trained = [case.came for case in observe_training(subject)]
    return all(agrees(case.came, came, SINGLE) for case, came in zip(cases, trained, strict=True))


WRONG_AXES_OF_BATCH = [
    Suspect(f"eval mode uses statistics of the input at hand: {suspect.cause}", {**suspect.turns, "source": "batch"})
    for suspect in WRONG_AXES
]


def _verdict(subject: Subject, cases: list[Case], lawful: Recipe, found: Explanation | None, mode: str) -> Verdict:
    if found is not None and found.recipe == lawful:
        if found.precision == SINGLE:
            subject.facts["precision"] = "agrees to float32's precision only, in float64 too"
        return HOLDS
    verdict = verdict_of(cases, lawful, found, mode)
    family = family_of(found.recipe) if found is not None and not found.only_where_it_fails else None
    if family in {None, subject.claims.formula} or mode == "eval mode":
        return verdict
    return replace(verdict, reason=f"this is the formula of --like {family}")


FORMULA_LAWS = (
    Law("training output", "in training mode the output is the formula's", "output", _training_output),
    Law("eval output", "in eval mode it is the formula's, by running statistics", "output", _eval_output),
)
