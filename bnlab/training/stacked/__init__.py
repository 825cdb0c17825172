"""Runs of one architecture trained together: their tensors stacked, and one operation where R would be made."""
