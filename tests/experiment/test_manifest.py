import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnlab
from bnlab.config.compose import compose_run
from bnlab.errors import DataError, RunError
from bnlab.experiment.checking import check
from bnlab.experiment.manifest import cohort_from, manifests_of
from bnlab.schema import RunConfig

QUICK = ["data=synthetic", "train.steps=60", "model.width=16"]


def as_kept(configs: list[RunConfig], engine: str = "vectorized") -> list[dict[str, Any]]:
    """Return the manifests of a cohort as a reader finds them."""
    manifests = manifests_of(check(configs[0]), configs, engine)
    return [
        json.loads(json.dumps({**manifest, "config": config.as_dict()}))
        for manifest, config in zip(manifests, configs, strict=True)
    ]


def test_every_member_of_a_cohort_knows_the_configs_of_all() -> None:
    words = [["seed=0", "optim.lr=0.1"], ["seed=1", "optim.lr=1e-3"], ["seed=0", "optim.lr=3.0", "model.init_std=0.5"]]
    configs = [compose_run([*QUICK, *own]) for own in words]
    for position, manifest in enumerate(as_kept(configs)):
        assert manifest["cohort"]["position"] == position
        assert set(manifest["cohort"]["varies"]) == {"seed", "optim.lr", "model.init_std"}
        assert cohort_from(manifest) == configs


def test_a_run_alone_is_its_whole_cohort() -> None:
    config = compose_run([*QUICK, "norm=group", "norm.num_groups=2", "schedule.name=step", "optim=adam"])
    (manifest,) = as_kept([config], "sequential")
    assert cohort_from(manifest) == [config]


def test_equal_configs_in_all_but_a_norms_option_come_back_with_it() -> None:
    configs = [compose_run([*QUICK, f"norm.momentum={value}"]) for value in (0.9, "null")]
    assert [cohort_from(manifest) for manifest in as_kept(configs)] == [configs, configs]


@pytest.mark.parametrize("num_runs", [1, 2])
def test_data_that_have_changed_or_gone_since_are_named(tmp_path: Any, num_runs: int) -> None:
    path = tmp_path / "x.npz"

    def write(seed: int) -> None:
        images = np.random.RandomState(seed).rand(200, 4)
        np.savez(path, images=images, labels=(images[:, 0] > 0.5).astype(int))

    write(0)
    words = ["data=npz", f"data.path={path}", "train.batch_size=20", "model.width=8"]
    configs = [compose_run([*words, f"seed={seed}"]) for seed in range(num_runs)]
    manifest = as_kept(configs, "vectorized" if num_runs > 1 else "sequential")[0]
    write(1)
    with pytest.raises(RunError, match="would be another run today: its data or"):
        cohort_from(manifest)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        cohort_from(manifest)


def test_a_manifest_of_another_version_or_half_a_manifest_is_one_sentence() -> None:
    (manifest,) = as_kept([compose_run(QUICK)], "sequential")
    old = {**manifest, "config": {key: value for key, value in manifest["config"].items() if key != "placement"}}
    with pytest.raises(RunError, match=r"trained by another version of bnlab: placement is missing"):
        cohort_from(old)
    with pytest.raises(RunError, match=r"does not say how the run was trained: KeyError\('cohort'\)"):
        cohort_from({"config": manifest["config"]})


@pytest.mark.slow
def test_a_cohort_is_told_without_torch() -> None:
    code = "import sys; import bnlab.experiment.manifest; print('torch' in sys.modules)"
    here = Path(bnlab.__file__).parents[1]
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout == "False\n"
