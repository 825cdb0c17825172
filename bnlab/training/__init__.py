"""Training: a loop that yields records, and its parts. Nothing here prints, logs or names a path."""
