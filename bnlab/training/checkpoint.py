"""Weights and training states on disk: tensors and plain values only, loaded without executing code."""

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
"""The errors that zipfile and torch were seen to raise for files of random bytes, or with a few bytes changed."""

FORMAT_VERSION = 2
"""The version of the dictionary in the file and of the training state in it. Version 1 had no ``training``."""


def write_checkpoint(
    path: Path,
    step: int,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Any] | None = None,
    keep_previous_as: Path | None = None,
) -> None:
    """Write a model's parameters and buffers. A reader never sees half a file, even if the process is killed.

    Args:
        path: The file to write.
        step: Optimizer steps made so far.
        weights: Parameters and buffers by their names in the model.
        training: Everything else that a resumed training needs; None: training is over.
        keep_previous_as: The place that an existing file at ``path`` moves to, once the new file is complete; None:
            the existing file is overwritten.

    Raises:
        OSError: The file cannot be written; an existing file stays, and no part of the new one.
    """
    content = {"format_version": FORMAT_VERSION, "step": step, "model": weights, "training": training}
    buffer = io.BytesIO()  # given a path, torch turns a full disk into a RuntimeError
    torch.save(_copied(content, {}), buffer)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_bytes(buffer.getbuffer())
    except OSError:
        beside.unlink(missing_ok=True)  # on a full disk it would take the room that the manifest needs
        raise
    if keep_previous_as is not None and path.exists():
        path.replace(keep_previous_as)
    beside.replace(path)


def _copied(value: Any, copied: dict[int, Tensor]) -> Any:
    """Copy the tensors of a tree to the CPU, each once; without a copy, torch saves a slice with its whole base."""
    if isinstance(value, Tensor):
        if id(value) not in copied:
            copied[id(value)] = value.detach().cpu().clone()
        return copied[id(value)]
    if isinstance(value, Mapping):
        return {key: _copied(part, copied) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(part, copied) for part in value)
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return ``step``, ``model`` (a state dict, on the CPU) and ``training`` (the state to resume from, or None).

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        checkpoint = _load(path)
        return {"training": None, "step": checkpoint["step"], "model": checkpoint["model"], **checkpoint}
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: the run has no weights yet.") from error
    except _DAMAGED as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged ({first}). Train the run again.") from error


def _load(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content.

    Raises:
        BadZipFile: A checksum is wrong. torch 2.14 writes checksums, but does not check them when it reads.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
