"""Takes over what a sweep would train and other folders have: single runs, and runs of other sweeps."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bnlab.errors import RunBusyError
from bnlab.experiment.elsewhere import OtherFolders, take_over
from bnlab.sweeps.checked_programs import CheckedPrograms
from bnlab.sweeps.plan import Sweep


def take_over_runs(sweep: Sweep, missing: Sequence[str]) -> dict[Path, int]:
    """Copy the results of runs that were trained in other folders as they would be here.

    Args:
        sweep: The sweep, `prepared`. One that other machines train takes nothing over.
        missing: The ids of the runs that it would train.

    Returns:
        The folders from which runs were taken -> how many.

    Raises:
        ConfigError: The sweep's folder cannot be written to.
    """
    taken: Counter[Path] = Counter()
    if sweep.launcher:
        return taken
    others = OtherFolders(sweep.folder)
    checks = sweep.checks or CheckedPrograms()
    resumed = {name for cohort in sweep.cut_off for name in cohort.run_ids}
    for cohort, wanted in sweep.to_train(missing):
        for place, (name, config) in enumerate(zip(cohort.run_ids, cohort.configs, strict=True)):
            if name not in wanted or name in resumed or not others.have(name):
                continue
            source = others.find(config, cohort.run_ids, place, cohort.engine, checks.check(config))
            try:
                if source is not None and take_over(sweep.run_folder(name), source, config, sweep.swept):
                    taken[source.path.parent] += 1
            except RunBusyError:
                continue
    return taken
