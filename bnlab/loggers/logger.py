"""The contract of a logger."""

from typing import Protocol

from bnlab.records import Record, RunSummary


class Logger(Protocol):
    """Takes records and shows or keeps them. It never changes what it is given."""

    def take(self, record: Record) -> None:
        """Take one record."""

    def close(self, summary: RunSummary | None) -> None:
        """End: with the run's summary, or with None if it was cut off."""
