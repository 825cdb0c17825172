"""The laws that a norm must keep, and what is likely wrong where one does not: behind `bnlab check` and the tests."""
