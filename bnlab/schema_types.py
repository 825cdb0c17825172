"""The types and ranges that the config's settings share."""

import functools
import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_MEASURED = 10**6
"""Measured steps of a run: a measurement takes a millisecond at the least, and a line in a file."""

Share = Annotated[float, Field(ge=0, le=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]
"""Above a million millions it is a slip, and torch, which counts in 64 bits, would end in the middle of a run."""
NumMeasured = Annotated[int, Field(ge=0, le=MOST_MEASURED)]
Depth = Annotated[int, Field(ge=1, le=10_000)]
"""Xiao et al. 2018 (arXiv 1806.05393) trained 10,000 layers; the modules of 100,000 take minutes to build."""
Width = Annotated[int, Field(ge=1, le=10**6)]
Activation = Literal["sigmoid", "tanh", "relu", "gelu", "silu"]
InitScheme = Literal["auto", "he", "lecun", "glorot"]


class Settings(BaseModel):
    """A section of the config: its values cannot be set, and unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@functools.cache
def names_of(union: Any) -> tuple[str, ...]:
    """Return the names of all sections in a union: the values that their ``name`` may have.

    Args:
        union: A union of sections, each of which has a ``name`` of a few values.
    """
    return tuple(
        name for one in typing.get_args(union) for name in typing.get_args(one.model_fields["name"].annotation)
    )
