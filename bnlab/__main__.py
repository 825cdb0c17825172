"""`python -m bnlab`, and the program `bnlab`: what is typed, from the first import on."""

import sys


def main() -> None:
    """Import the command line and run it; Ctrl-C meanwhile ends the program as it does later."""
    try:
        from bnlab.cli.app import main as run_what_is_typed  # noqa: PLC0415  (Ctrl-C may come while it is imported)
    except KeyboardInterrupt:
        sys.exit(130)
    run_what_is_typed()


if __name__ == "__main__":
    main()
