import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnlab.config.compose import compose_run
from bnlab.data.fingerprint import content_fingerprint
from bnlab.errors import DataError
from bnlab.identity.run_id import run_id
from bnlab.runfolder.folder import SCHEMA_VERSION


def test_an_id_says_what_matters_first() -> None:
    assert run_id(compose_run(["norm=group", "model=cnn", "data=digits", "optim.lr=1e-3", "seed=4"])).startswith(
        "group-cnn-digits-lr0.001-s4-"
    )


@pytest.mark.parametrize(
    "override",
    [
        *["device=cpu", "threads=3", "sweep.engine=sequential", "loggers=[]", "name=mine", "data.root=/x"],
        *["train.checkpoint_every=10", "optim.lr=1e-1", "optim.lr=0.10", "diagnostics.tensorboard=[]"],
        *["train.parameters=all", "train.keep_weights=false"],
    ],
)
def test_what_cannot_change_the_numbers_does_not_change_the_id(override: str) -> None:
    assert run_id(compose_run([override])) == run_id(compose_run([]))


def test_an_id_ends_in_the_hash_of_all_other_settings() -> None:
    config = compose_run(["norm=batch", "data=digits", "train.checkpoint_every=3"])
    facts = config.as_dict()
    for key in ("name", "device", "threads", "loggers", "accept", "sweep"):
        del facts[key]
    del facts["data"]["root"], facts["train"]["checkpoint_every"], facts["diagnostics"]["tensorboard"]
    # added later: with these values they are no part of an id
    del facts["train"]["parameters"], facts["train"]["processes"], facts["data"]["size"], facts["data"]["padding_value"]
    del facts["train"]["label_smoothing"], facts["train"]["mirrored_evaluation"], facts["train"]["keep_weights"]
    facts |= {"schema_version": SCHEMA_VERSION}
    written = json.dumps(facts, sort_keys=True).encode()
    assert run_id(config).endswith(f"-{hashlib.sha256(written).hexdigest()[:8]}")


@pytest.mark.parametrize(
    "override",
    [
        *["norm.eps=1e-3", "seed=1", "placement=after", "diagnostics=none", "train.log_every=10", "data.limit=100"],
        *["data.split_seed=1", "train.precision=bfloat16", "optim.weight_decay=1e-4", "schedule.name=cosine"],
        *["train.parameters=norms", "train.parameters=output", "train.processes=2"],
        *["train.label_smoothing=0.1", "train.mirrored_evaluation=true"],
    ],
)
def test_what_can_change_the_numbers_changes_the_id(override: str) -> None:
    assert run_id(compose_run([override])) != run_id(compose_run([]))


def test_own_arrays_are_known_by_their_content_not_by_their_place(tmp_path: Path) -> None:
    def id_of(name: str, seed: int) -> str:
        images = np.random.RandomState(seed).rand(30, 4)
        np.savez(tmp_path / name, images=images, labels=np.arange(30) % 2)
        return run_id(compose_run(["data=npz", f"data.path={tmp_path / name}"]))

    assert id_of("a.npz", 0) == id_of("b.npz", 0) != id_of("a.npz", 1)
    with pytest.raises(DataError, match=r"data\.path=.*nowhere\.npz cannot be read"):
        run_id(compose_run(["data=npz", "data.path=nowhere.npz"]))


def test_own_arrays_are_read_once_as_long_as_they_do_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_reads, digest = [0], hashlib.file_digest

    def counting(*given: Any) -> Any:
        num_reads[0] += 1
        return digest(*given)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    path = tmp_path / "own.npz"
    path.write_bytes(b"abc")
    os.utime(path, (1000, 1000))
    configs = [compose_run(["data=npz", f"data.path={path}", f"seed={seed}"]) for seed in range(3)]
    assert len({run_id(config) for config in configs}) == 3
    assert {content_fingerprint(config.data) for config in configs} == {hashlib.sha256(b"abc").hexdigest()}
    assert num_reads == [1]
    for content, time in [(b"abcd", 1000), (b"abce", 1001), (b"abcf", 1002)]:  # another size; the same size, later
        path.write_bytes(content)
        os.utime(path, (time, time))
        assert {content_fingerprint(config.data) for config in configs} == {hashlib.sha256(content).hexdigest()}
    assert num_reads == [4]
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        run_id(configs[0])


def test_an_id_is_safe_as_a_folder_name_on_every_system() -> None:
    name = run_id(compose_run(["norm=my.layers:Mine", "optim.lr=1e-05"]))
    assert name.startswith("Mine-mlp-mnist_5k-lr1e-05-s0-")
    assert not set(name) & set('<>:"/\\|?* ')


def test_an_option_of_an_own_norm_may_be_named_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coded.py").write_text("class Norm: ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert len({run_id(compose_run(["norm=coded:Norm", f"norm.code={code}"])) for code in (1, 2)}) == 2
