"""Diagnostics: they measure a network without changing it; they never log, draw or decide."""
