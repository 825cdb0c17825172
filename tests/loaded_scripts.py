"""Scripts of scripts/, which is no package, as modules."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def load_script(name: str) -> ModuleType:
    """Return a script as a module; it finds the modules that lie beside it.

    Args:
        name: Its name without ``.py``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return importlib.import_module(name)
