"""Questions and their answers: two arms of a sweep are compared, and a claim about them gets a verdict."""
