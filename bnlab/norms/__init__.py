"""Normalization layers. They are functions of a tensor and know nothing of models or training."""

import importlib
from typing import TYPE_CHECKING, Any

from bnlab.failed_imports import saying_why_imports_fail

if TYPE_CHECKING:
    from bnlab.norms.batch import BatchNorm
    from bnlab.norms.catalog import build_norm
    from bnlab.norms.precise import precise_batch_stats

__all__ = ["BatchNorm", "build_norm", "precise_batch_stats"]

_PLACES = {
    "BatchNorm": "bnlab.norms.batch",
    "build_norm": "bnlab.norms.catalog",
    "precise_batch_stats": "bnlab.norms.precise",
}


def __getattr__(name: str) -> Any:  # lazily: whoever asks for the names of norms need not wait for torch
    if name not in _PLACES:
        raise AttributeError(f"module 'bnlab.norms' has no attribute '{name}'")
    with saying_why_imports_fail():
        module = importlib.import_module(_PLACES[name])
    return getattr(module, name)
