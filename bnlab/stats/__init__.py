"""Numbers out of numbers: estimates with intervals, and what learning-rate curves say. NumPy and SciPy only."""
