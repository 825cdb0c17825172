"""Turns overrides into a checked config, and finds the files of conf/."""
