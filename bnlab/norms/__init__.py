"""Normalization layers. They are functions of a tensor and know nothing of models or training."""

from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm
from bnlab.norms.precise import precise_batch_stats

__all__ = ["BatchNorm", "build_norm", "precise_batch_stats"]
