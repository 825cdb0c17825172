"""Weights on disk: tensors and plain values only, loaded without executing anything."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnlab.errors import RunError

FORMAT_VERSION = 1
"""Of the dictionary inside the file."""


def write_checkpoint(path: Path, model: nn.Module, step: int) -> None:
    """Write a model's parameters and buffers; a reader never sees half a file.

    Args:
        path: Where.
        model: Whose.
        step: Optimizer steps made so far.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    beside = path.with_name(f".{path.name}.tmp")
    torch.save({"format_version": FORMAT_VERSION, "step": step, "model": state}, beside)
    beside.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return ``step`` and ``model`` (a state dict, on the CPU).

    Raises:
        RunError: It is not there, or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there: the run has no weights yet.") from error
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged ({first}). Train the run again.") from error
    return checkpoint
