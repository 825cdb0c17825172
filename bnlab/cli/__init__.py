"""The commands: each parses what is typed, calls one function and prints its result. Typer is imported only here."""
