"""Results of runs: the rule for arms and best rates, and run folders as rows, curves and data frames. No torch."""
