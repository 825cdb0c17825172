"""Normalization layers. They are functions of a tensor and know nothing of models or training."""

from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm

__all__ = ["BatchNorm", "build_norm"]
