"""One run, or a cohort of them, assembled: checked, put together, trained, and kept."""
