import importlib
import sys
from pathlib import Path

import pytest
from own_modules import write

from bnlab.own_code.loaded import differs_from_file

MODULE = """
import functools
from dataclasses import dataclass

LIMIT = 3  # a comment
PAIR: float = 2.0
TABLE = [1, 2]
COUNT = 0
SCALE = 1.0
SCALE = SCALE * 2
for STEP in range(3):
    pass


def among(x):
    return x in {"zeros", "reflect", "replicate", "circular", "mean", "sum", "none", 1, 2.5, (3, 4)}


def counted():
    global COUNT
    COUNT += 1


@functools.cache
def cached(x):
    return x


@dataclass
class Facts:
    a: int = 1

    def plain(self, x):
        return [y * 2 for y in x]

    @property
    def shown(self):
        return self.a

    @classmethod
    def made(cls):
        return cls(lambda z: z + 1)

    @staticmethod
    def free():
        return 5
"""


@pytest.mark.parametrize(
    "edit",
    [
        *[
            ("LIMIT = 3", "LIMIT = 4"),
            ("PAIR: float = 2.0", "PAIR: float = 3.0"),
            ("y * 2", "y * 3"),
            ("z + 1", "z + 2"),
        ],
        *[("return self.a", "return -self.a"), ("return 5", "return 6"), ("COUNT += 1", "COUNT += 2")],
    ],
)
def test_an_edited_function_or_number_is_seen(here: Path, edit: tuple[str, str]) -> None:
    write(here, mine=MODULE)
    module = importlib.import_module("mine")
    assert edit[0] in MODULE
    write(here, mine=MODULE.replace(*edit))
    assert differs_from_file(module, str(here / "mine.py"))


@pytest.mark.parametrize(
    "edit", [("# a comment", "# another"), ("\n\n\ndef", "\n\n\n\n\ndef"), ("TABLE = [1, 2]", "TABLE = [1]")]
)
def test_what_changes_nothing_or_cannot_be_compared_is_no_difference(here: Path, edit: tuple[str, str]) -> None:
    write(here, mine=MODULE)
    module = importlib.import_module("mine")
    module.counted()
    module.cached(1)
    module.TABLE.append(3)
    assert not differs_from_file(module, str(here / "mine.py"))
    write(here, mine=MODULE.replace(*edit))
    assert not differs_from_file(module, str(here / "mine.py"))


@pytest.mark.slow
def test_every_module_of_bnlab_that_is_in_use_is_what_its_file_says() -> None:
    """A large sample of real code; some of it is decorated, generated, or changed while it runs."""
    importlib.import_module("bnlab.cli.app")
    importlib.import_module("bnlab.experiment.single")
    names = [name for name in sys.modules if name.startswith(("bnlab.", "torch.nn.modules."))]
    # torch.compile, which another test may have called, replaces __init__ and __setstate__ of torch.nn.Module for good
    modules = [sys.modules[name] for name in names if name != "torch.nn.modules.module"]
    files = [(module, module.__file__) for module in modules if str(module.__file__).endswith(".py")]
    assert [module.__name__ for module, file in files if file and differs_from_file(module, file)] == []
    assert len(files) > 100
