"""An estimate of how long a sweep will take, from training a little of it."""

import time
from collections.abc import Sequence

from bnlab import provenance
from bnlab.experiment.assembly import assemble_cohort
from bnlab.seeding import stream_seed
from bnlab.sweeps.checked_programs import CheckedPrograms
from bnlab.sweeps.cohorts import PlannedCohort, program
from bnlab.sweeps.plan import Sweep
from bnlab.training.precision import computing_with

TRIED_S = 0.25
"""Seconds for which one cohort of each program is trained."""

MOST_PROGRAMS = 8
"""Most programs that are tried. The others count as the mean of these."""

PATIENCE_S = 0.5
"""Seconds after which a sweep that is about to start tries no further program: training waits for the estimate."""

START_S = 6.0
"""Seconds in which a worker imports torch and opens the data."""


def estimate_s(sweep: Sweep, missing: Sequence[str], jobs: int | None, within_s: float | None = None) -> float | None:
    """Return about how many seconds it will take to train what is missing.

    One cohort of each program is trained for a few steps, and thrown away. Validations and diagnostics count by their
    number of images: a forward pass takes a third of a step.

    Args:
        sweep: The sweep, after `prepared`.
        missing: The ids of the runs that will be trained, at least one.
        jobs: Processes that train at a time; None: one per physical core.
        within_s: Seconds after which no further program is tried; None: up to `MOST_PROGRAMS` are tried.

    Returns:
        Seconds; None where a run fails when it is tried: the sweep will tell why, and the run has a log.
    """
    cohorts = [cohort for cohort, _ in sweep.to_train(missing)]
    by_program: dict[str, list[PlannedCohort]] = {}
    for cohort in cohorts:
        by_program.setdefault(f"{cohort.engine} {len(cohort.configs)} {program(cohort.configs[0])}", []).append(cohort)
    checks = sweep.checks or CheckedPrograms()
    tried: list[tuple[int, float]] = []
    began = time.monotonic()
    try:
        for same in list(by_program.values())[:MOST_PROGRAMS]:
            tried.append((len(same), _cohort_s(same[0], checks)))
            if within_s is not None and time.monotonic() - began > within_s:
                break
    except Exception:  # somebody's own layer may raise anything
        return None
    mean_s = sum(number * seconds for number, seconds in tried) / sum(number for number, _ in tried)
    num_jobs = min(jobs or provenance.num_physical_cores(), len(cohorts))
    return mean_s * len(cohorts) / num_jobs + (START_S if num_jobs > 1 else 0.0)


def _cohort_s(planned: PlannedCohort, checks: CheckedPrograms) -> float:
    config = planned.configs[0]
    checked = checks.check(config)
    with computing_with(checked.num_threads, stream_seed(config.seed, "noise"), checked.device):
        cohort, _ = assemble_cohort(planned.configs, checked, planned.engine)
        steps = cohort.steps()
        next(steps)  # the first step is slow
        began, num_steps_done = time.perf_counter(), 0
        while time.perf_counter() - began < TRIED_S and num_steps_done < checked.plan.num_steps:
            next(steps)
            num_steps_done += 1
        step_s = (time.perf_counter() - began) / num_steps_done
    plan, data = checked.plan, checked.data
    num_looked_at = (
        plan.num_steps // plan.eval_every * len(data.validation)
        + len(data.test)
        + len(plan.measured_steps) * config.diagnostics.probe_size * 3
    )
    return step_s * (plan.num_steps + num_looked_at / plan.batch_size / 3)
