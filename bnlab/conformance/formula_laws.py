"""Laws of the output: it is that of the family's formula, in training mode and in eval mode."""

from dataclasses import replace

from bnlab.conformance.explaining import SINGLE, Case, Explanation, agrees, explain_output
from bnlab.conformance.known_faults import BATCH_IN_EVAL, IN_EVAL, faults_in_training
from bnlab.conformance.law_results import HOLDS, Law, Verdict
from bnlab.conformance.observing import correct_variant, observe_eval, observe_training, verdict_of
from bnlab.conformance.subject import Subject
from bnlab.conformance.variants import Variant, family_of


def _training_output(subject: Subject) -> Verdict:
    correct = correct_variant(subject)
    cases = observe_training(subject)
    found = explain_output(cases, correct, faults_in_training(correct))
    subject.findings["output"] = found
    return _verdict(subject, cases, correct, found, "training mode")


def _eval_output(subject: Subject) -> Verdict:
    correct = correct_variant(subject)
    faults = faults_in_training(correct)
    if subject.claims.keeps_running_statistics:
        correct = replace(correct, source="running")
        faults = IN_EVAL
    cases = observe_eval(subject)
    found = explain_output(cases, correct, faults)
    verdict = _verdict(subject, cases, correct, found, "eval mode")
    if found is None and subject.claims.keeps_running_statistics:
        pairs = zip(cases, observe_training(subject), strict=True)
        if all(agrees(case.actual, trained.actual, SINGLE) for case, trained in pairs):
            return replace(verdict, cause=f"eval mode gives the output of training mode: {BATCH_IN_EVAL.cause}")
    return verdict


def _verdict(subject: Subject, cases: list[Case], correct: Variant, found: Explanation | None, mode: str) -> Verdict:
    if found is not None and found.variant == correct:
        if found.precision == SINGLE:
            subject.facts["precision"] = "agrees to float32's precision only, in float64 too"
        return HOLDS
    verdict = verdict_of(cases, correct, found, mode)
    family = family_of(found.variant) if found is not None and not found.only_where_it_fails else None
    if family in {None, subject.claims.formula} or mode == "eval mode":
        return verdict
    return replace(verdict, reason=f"this is the formula of --like {family}")


FORMULA_LAWS = (
    Law("training output", "in training mode the output is the formula's", "output", _training_output),
    Law("eval output", "in eval mode it is the formula's, by running statistics", "output", _eval_output),
)
