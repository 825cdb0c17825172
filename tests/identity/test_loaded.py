import importlib
import sys
from pathlib import Path

import pytest
import torch
from own_modules import write

from bnlab.norms.catalog import build_norm
from bnlab.own_code.loaded import differs_from_file
from bnlab.own_code.modules import changed_since_loaded
from bnlab.plugins import load_class

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
@pytest.mark.usefixtures("taken_over")  # else tests/conftest.py replaces a function
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


LIVELY = """
import sys
import torch
from base import Base, logged
import state
triton = None
try:
    import json as triton
except ImportError:
    pass
CALLS = PLAIN = 0
class Norm(Base):
    count = 0
    def __init__(self, num_channels):
        super().__init__()
        self.inner = torch.nn.GroupNorm(1, num_channels)
    def forward(self, x):
        sys.modules[__name__].CALLS += 1
        globals()["PLAIN"] = 1
        state.NUM = state.NUM + 1
        type(self).count += 1
        return self.inner(x)
    def extra(self):
        return 1
    extra = logged(extra)
"""

BASE = """
import functools
import torch
def logged(f):
    return lambda *given: f(*given)
class Base(torch.nn.Module):
    def __init_subclass__(cls):
        cls.forward = logged(cls.forward)
"""


@pytest.mark.parametrize("imported", [False, True])
def test_code_may_change_itself_and_a_hand_may_not_change_it(here: Path, *, imported: bool) -> None:
    write(here, ed=LIVELY, base=BASE, state="NUM = 0\nK = 1.0\n")
    if imported:
        importlib.import_module("ed")
    for _ in range(2):
        layer = build_norm("ed:Norm", 2)
        assert changed_since_loaded("ed:Norm") == {}
        layer(torch.ones(3, 2))
        assert changed_since_loaded("ed:Norm") == {}
    sys.modules["state"].K = torch.ones(1)
    assert list(changed_since_loaded("ed:Norm")) == ["state"]
    sys.modules["state"].K = 1.0
    sys.modules["ed"].Norm.extra = print
    assert list(changed_since_loaded("ed:Norm")) == ["ed"]


STRANGE = """
__version__ = "1"
from heapq import *
def heappush(x): ...
class Outer:
    class Inner:
        def m(self): ...
try:
    from collections import OrderedDict
except ImportError:
    class OrderedDict:
        def m(self): ...
"""


def test_names_that_a_file_may_bind_in_several_ways_are_not_compared(here: Path) -> None:
    write(here, strange=STRANGE.replace("*", "heapify") + "from heapq import heappush\n", starred=STRANGE)
    for name in ("strange", "starred"):
        module = importlib.import_module(name)
        module.__version__ = "2"
        assert not differs_from_file(module, str(here / f"{name}.py"))


def test_what_was_set_by_hand_before_bnlab_saw_a_module_is_no_part_of_it(here: Path) -> None:
    write(here, ed="import torch\nK = 1.0\nclass Norm(torch.nn.Module):\n    def forward(self, x): return x\n")
    module = importlib.import_module("ed")
    for holder, name, value in ((module, "K", 2.0), (module.Norm, "forward", print)):
        before = getattr(holder, name)
        setattr(holder, name, value)
        load_class("ed:Norm", torch.nn.Module, "a test")
        assert list(changed_since_loaded("ed:Norm")) == ["ed"]
        setattr(holder, name, before)
    assert changed_since_loaded("ed:Norm") == {}
