"""The commands: each parses what is typed, calls one function, and prints its result. The only room with Typer."""
