"""Parts of a sweep, each for one worker: cut and written by the sweep, read by the worker."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab import provenance
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import PlannedCohort

MOST_RUNS_PER_PART = 8
"""Most runs that are trained one by one in one part: a part costs a tenth of a second, and the last parts should end at
about the same time."""

PARTS_PER_JOB = 4
"""Parts per process, at least, where there are enough runs: then no worker waits long for the last part."""

STOP = "stop"
"""Name of a file beside the parts: where it is, no further run begins."""

HALT = "halt"
"""Name of a file beside the parts: where it is, training stops after the current step, with a checkpoint."""

SURROUNDINGS = "surroundings.json"
"""Name of a file beside the parts: where the sweep was started, and with which environment variables of bnlab's."""


@dataclass(frozen=True)
class Part:
    """Some cohorts of a sweep, and how they are to be trained.

    Attributes:
        cohorts: Trained one after another, in this order.
        sweep_folder: The sweep's folder, in which each run has a folder.
        swept: The dotted keys that differ between the runs of the sweep.
        again: Train runs anew that have a result.
        stop_on_error: After a failure no further run of the sweep begins; False: the sweep decides.
    """

    cohorts: Sequence[PlannedCohort]
    sweep_folder: Path
    swept: Sequence[str]
    again: bool
    stop_on_error: bool

    def write(self, path: Path) -> None:
        """Write the part to a file, as JSON."""
        facts: dict[str, Any] = {
            "sweep_folder": str(self.sweep_folder),
            "swept": list(self.swept),
            "again": self.again,
            "stop_on_error": self.stop_on_error,
            "cohorts": [
                {
                    "engine": cohort.engine,
                    "run_ids": list(cohort.run_ids),
                    "configs": [config.as_dict() for config in cohort.configs],
                }
                for cohort in self.cohorts
            ],
        }
        path.write_text(json.dumps(facts), encoding="utf-8")


def read_part(path: Path) -> Part:
    """Return the part that a file holds."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    cohorts = [
        PlannedCohort(
            cohort["engine"],
            tuple(RunConfig.model_validate_json(json.dumps(config)) for config in cohort["configs"]),
            tuple(cohort["run_ids"]),
        )
        for cohort in facts["cohorts"]
    ]
    return Part(cohorts, Path(facts["sweep_folder"]), facts["swept"], facts["again"], facts["stop_on_error"])


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{number}.json"


def halt_path(part: Path) -> Path:
    """Return the file that asks for a stop of one part alone, with a checkpoint.

    Args:
        part: The file of the part.
    """
    return part.with_suffix(".halt")


def cut_into_parts(cohorts: Sequence[PlannedCohort], num_jobs: int, one_per_job: bool) -> list[list[PlannedCohort]]:
    """Cut some cohorts into parts: a vectorized cohort each, or a few runs that are trained one by one.

    Args:
        cohorts: The cohorts, in the order of the sweep.
        num_jobs: Processes that train at a time.
        one_per_job: Cut into as many parts as there are processes, since each part starts one that has to import torch.
    """
    if one_per_job:
        return [part for i in range(num_jobs) if (part := list(cohorts[i::num_jobs]))]
    single = [cohort for cohort in cohorts if len(cohort.configs) == 1]
    size = max(1, min(MOST_RUNS_PER_PART, len(single) // (num_jobs * PARTS_PER_JOB)))
    grouped = [single[i : i + size] for i in range(0, len(single), size)]
    return [[cohort] for cohort in cohorts if len(cohort.configs) > 1] + grouped


def write_surroundings(folder: Path) -> None:
    """Write what a worker must set: it may run on another machine, or stay from a sweep that was started elsewhere."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("BNLAB_")}
    environment[provenance.COMMAND] = provenance.command()
    facts = {"folder": str(Path.cwd()), "environment": environment, "host": socket.gethostname(), "pid": os.getpid()}
    (folder / SURROUNDINGS).write_text(json.dumps(facts), encoding="utf-8")
