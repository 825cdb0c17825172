"""Weights and training states on disk: tensors and plain values only, loaded without executing anything."""

import io
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnlab.errors import RunError

_DAMAGED = (
    *(OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
)
"""What zipfile and torch have been seen to raise for files of random bytes, or with a few of them changed."""

FORMAT_VERSION = 2
"""Of the dictionary inside the file, and of what training needs to go on. 1 had no ``training``."""


def write_checkpoint(
    path: Path,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Any] | None = None,
    keep_previous_as: Path | None = None,
) -> None:
    """Write a model's parameters and buffers; a reader never sees half a file, whatever happens meanwhile.

    Args:
        path: Where.
        step: Optimizer steps made so far.
        weights: By the names in the model.
        training: All else that is needed to go on; None where training is over.
        keep_previous_as: Where what is there goes, once the new one is written; None: it is replaced.

    Raises:
        OSError: It cannot be written; what was there before stays, and nothing of the new one.
    """
    content = {"format_version": FORMAT_VERSION, "step": step, "model": weights, "training": training}
    buffer = io.BytesIO()  # given a path, torch makes a RuntimeError of its own out of a full disk
    torch.save(_apart(content, {}), buffer)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_bytes(buffer.getbuffer())
    except OSError:
        beside.unlink(missing_ok=True)  # on a full disk it takes the room that the manifest needs
        raise
    if keep_previous_as is not None and path.exists():
        path.replace(keep_previous_as)
    beside.replace(path)


def _apart(value: Any, copied: dict[int, Tensor]) -> Any:
    """Return a tree with its tensors copied to the CPU, each once: a slice would drag all it is a slice of along."""
    if isinstance(value, Tensor):
        if id(value) not in copied:
            copied[id(value)] = value.detach().cpu().clone()
        return copied[id(value)]
    if isinstance(value, Mapping):
        return {key: _apart(part, copied) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_apart(part, copied) for part in value)
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return ``step``, ``model`` (a state dict, on the CPU) and ``training`` (what is needed to go on, or None).

    Raises:
        RunError: It is not there, or damaged.
    """
    try:
        checkpoint = _load(path)
        return {"training": None, "step": checkpoint["step"], "model": checkpoint["model"], **checkpoint}
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there: the run has no weights yet.") from error
    except _DAMAGED as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged ({first}). Train the run again.") from error


def _load(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content.

    Raises:
        BadZipFile: A checksum is wrong. torch 2.14 writes them, but does not look at them when it reads.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
