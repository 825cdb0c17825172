"""The names of the traps that a config may accept."""

from typing import Literal

TrapName = Literal[
    "accumulation",
    "bias_before_norm",
    "dropout_before_batch_norm",
    "few_values",
    "graph_in_buffers",
    "hidden_name",
    "in_place",
    "large_model",
    "large_offset",
    "no_running_statistics",
    "no_space",
    "one_value",
    "running_overflow",
    "small_momentum",
    "state_outside_buffers",
    "statistics_not_settled",
    "undecayed_norm",
    "updated_twice",
    "wrong_axis",
]
"""The names of the traps; the table in bnlab/traps says what each is."""
