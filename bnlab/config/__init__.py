"""From overrides to a checked config, and where the files of conf/ lie."""
