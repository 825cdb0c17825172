"""One run, or a cohort of runs: checked, assembled, trained and recorded."""
