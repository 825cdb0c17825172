"""Data sets as tensors: their sources, their splits, and their batches."""
