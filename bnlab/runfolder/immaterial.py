"""The settings of a run that cannot change a number of it."""

IMMATERIAL = frozenset(
    {
        *("name", "device", "threads", "loggers", "accept"),
        *("sweep.engine", "data.root", "train.checkpoint_every", "diagnostics.tensorboard"),
    }
)
"""Dotted keys. A run's id leaves them out, no arm of a sweep is told by them, no table of hyperparameters has them."""
