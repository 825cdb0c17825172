"""What a sweep says it will train is what is missing, each run once."""

import dataclasses
from collections.abc import Iterator

from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.plan import Sweep, plan_sweep

WORDS = ["data=digits", "norm=none", "name=s", "seed=range(6)"]


def test_the_launcher_is_not_in_the_name_of_a_sweep() -> None:
    words = ["data=digits", "norm=none", "seed=0,1"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert plan_sweep([*words, *launcher]).folder == plan_sweep(words).folder


def planned() -> Sweep:
    sweep = plan_sweep(WORDS)
    configs = list(sweep.configs.values())
    together = [PlannedCohort("vectorized", tuple(configs[:3])), PlannedCohort("vectorized", tuple(configs[3:]))]
    return dataclasses.replace(sweep, cohorts=together, cut_off=[PlannedCohort("sequential", (configs[0],))])


def test_a_missing_run_is_counted_once_and_a_finished_one_not_at_all() -> None:
    sweep = planned()
    names = list(sweep.configs)
    assert sweep.to_train(names[:2]) == [(sweep.cut_off[0], {names[0]}), (sweep.cohorts[0], {names[1]})]
    assert sweep.to_train([names[4]]) == [(sweep.cohorts[1], {names[4]})]
    assert sweep.to_train([]) == []


def test_the_missing_runs_are_gone_through_once_however_many_cohorts_there_are() -> None:
    class Counting(list[str]):
        num_times = 0

        def __iter__(self) -> Iterator[str]:
            self.num_times += 1
            return super().__iter__()

    names = Counting(planned().configs)
    assert len(planned().to_train(names)) == 3
    assert names.num_times <= 1
