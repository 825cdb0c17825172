"""Sentences that verdicts are explained with, in Chinese: their English is made by the rooms that judge."""


def in_chinese(text: str) -> str | None:
    """Return an English sentence of a verdict in Chinese; None where it is not known."""
    return None
