"""Training: a loop that yields records, and the parts it is made of. Nothing here prints, logs or names a path."""
