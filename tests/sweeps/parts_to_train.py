"""Parts for tests of backends: some runs of a second or less, written as a sweep writes them."""

from pathlib import Path

from bnlab.sweeps.parts import Part, part_path, write_surroundings
from bnlab.sweeps.plan import Sweep, plan_sweep, prepared

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]


def one_run_per_part(*words: str) -> tuple[Sweep, list[Path]]:
    """Return a sweep, and the files of its parts: one for each run."""
    given = {word.partition("=")[0] for word in words}
    common = [word for word in QUICK if word.partition("=")[0] not in given]
    sweep = prepared(plan_sweep([*common, "sweep.engine=sequential", *words]))
    folder = sweep.folder / ".parts" / "0"
    folder.mkdir(parents=True)
    write_surroundings(folder)
    files = [part_path(folder, number) for number in range(len(sweep.cohorts))]
    for cohort, file in zip(sweep.cohorts, files, strict=True):
        Part([cohort], sweep.folder, sweep.swept, again=False, stop_on_error=False).write(file)
    return sweep, files
