#!/usr/bin/env python
"""Runs the notebooks of docs/notebooks and writes their outputs into them, so that they can be read without running.

    scripts/make_notebooks.py           all of them
    scripts/make_notebooks.py student   one

What differs between two runs, such as times, is left out: an unchanged notebook has no diff but in its numbers.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
TIMEOUT_S = 600
"""For one cell, on a busy machine; each takes seconds."""


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook with the outputs that its cells have when they are run in a folder.

    Args:
        path: The notebook.
        folder: The folder that its kernel runs in, and that its runs are written to.

    Raises:
        CellExecutionError: A cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(folder)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell began
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    """Run the notebooks that are named, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size // 1024} KiB", file=sys.stderr)


if __name__ == "__main__":
    main()
