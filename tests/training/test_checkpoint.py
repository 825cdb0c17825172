import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from bnlab.errors import RunError
from bnlab.training.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    weights = {"weight": torch.randn(8, 4), "count": torch.tensor(3)}
    write_checkpoint(path, 7, weights, {"state": {"model": weights, "losses": [0.5, float("nan")], "none": None}})
    return path


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return repr(a) == repr(b) and all(torch.equal(a["model"][key], b["model"][key]) for key in b["model"])


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> Any:
        return (Path.touch, (self.where,))


def damages() -> dict[str, Any]:
    randomly = random.Random(0)
    return {
        "empty": lambda _: b"",
        "half": lambda raw: raw[: len(raw) // 2],
        "one byte short": lambda raw: raw[:-1],
        "random bytes": lambda raw: randomly.randbytes(len(raw)),
        "zeros, as after a power failure": lambda raw: bytes(len(raw)),
        "text": lambda _: b"not weights",
        "a pickle": lambda _: pickle.dumps({"step": 1, "model": {}}),
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_file_is_named_with_the_cure(path: Path, kind: str) -> None:
    path.write_bytes(damages()[kind](path.read_bytes()))
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged \(.+\)\. Train the run again\.") as caught:
        read_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_no_byte_can_change_unnoticed(path: Path) -> None:
    raw, sound, randomly = path.read_bytes(), read_checkpoint(path), random.Random(0)
    num_noticed = 0
    for _ in range(500):
        damaged = bytearray(raw)
        damaged[randomly.randrange(len(raw))] ^= 1 << randomly.randrange(8)
        path.write_bytes(damaged)
        try:
            assert equal(read_checkpoint(path), sound)  # it was padding
        except RunError:
            num_noticed += 1
    assert num_noticed > 250


@pytest.mark.parametrize("as_zip", [True, False])
def test_nothing_in_a_file_is_executed(path: Path, tmp_path: Path, as_zip: bool) -> None:
    torch.save({"step": 1, "model": Bomb(tmp_path / "boom")}, path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "boom").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "boom").exists(), "the bomb is a dud"


@pytest.mark.parametrize("content", [{"step": 1}, {"model": {}}, [1, 2], 3.0, {}])
def test_a_file_of_something_else_is_damaged(path: Path, content: Any) -> None:
    torch.save(content, path)
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged"):
        read_checkpoint(path)


def test_a_write_that_fails_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    before = read_checkpoint(path)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, 8, {"weight": torch.zeros(8, 4)})
    assert equal(read_checkpoint(path), before)


def test_a_slice_is_kept_without_what_it_is_a_slice_of(path: Path) -> None:
    whole = torch.randn(1000, 1000)
    write_checkpoint(path, 1, {"a": whole[0], "b": whole[1]})
    assert path.stat().st_size < 20_000
    assert torch.equal(read_checkpoint(path)["model"]["b"], whole[1])
