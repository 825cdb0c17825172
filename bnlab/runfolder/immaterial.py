"""The settings of a run that cannot change its numbers."""

IMMATERIAL = frozenset(
    {
        *("name", "device", "threads", "loggers", "accept"),
        *("sweep.engine", "data.root", "train.checkpoint_every", "train.keep_weights"),
        "diagnostics.tensorboard",
    }
)
"""Dotted keys. They are not in a run's id, they do not define arms, and tables of hyperparameters leave them out."""
