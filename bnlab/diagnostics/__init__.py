"""Instruments that look at a network without touching it. They measure; they never log, draw or decide."""
