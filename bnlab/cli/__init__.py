"""The Typer door: parses, calls one function, prints."""
