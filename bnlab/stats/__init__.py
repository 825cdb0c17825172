"""Statistics: estimates with intervals, and figures of learning-rate curves. Floats in, frozen results out."""
