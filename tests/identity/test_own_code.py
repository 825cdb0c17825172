"""The code of own classes, by source files written here."""

import importlib
import sys
from pathlib import Path

import pytest
from own_modules import write

from bnlab.own_code.modules import OwnCode, changed_since_loaded, code_of, forget_loaded, remember_as_loaded


def digest(place: str = "layer:Norm") -> str | None:
    return code_of(place).digest


LAYER = "import helper\nclass Norm:\n    k = helper.K\n"


def test_code_is_that_of_the_module_and_of_all_that_it_imports(here: Path) -> None:
    write(here, layer=LAYER, helper="import far\nK = 1.0\n", far="X = 1\n", other="Y = 1\n")
    code = code_of("layer:Norm")
    assert list(code.modules) == ["far", "helper", "layer"]
    assert code.packages == () == code.unread
    before = code.digest
    write(here, far="X = 2\n")
    assert digest() != before
    write(here, far="X = 1\n", other="Y = 2\n")  # nobody imports it
    assert digest() == before


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("# said\n\nimport helper  # why\n\n\nclass Norm:\n    k = helper.K   \n", True),
        ("import helper\r\nclass Norm:\r\n    k = helper.K\r\n", True),
        ("import helper\nclass Norm:\n    k = helper.K + 0\n", False),
        ("import helper\nclass Norm:\n    '''# no comment'''\n    k = helper.K\n", False),
        ("import helper\nclass Norm:\n        k = helper.K\n", False),
    ],
)
def test_comments_and_empty_lines_are_no_code(here: Path, text: str, *, same: bool) -> None:
    write(here, layer=LAYER, helper="K = 1.0\n")
    before = digest()
    (here / "layer.py").write_bytes(text.encode())
    assert (digest() == before) is same


@pytest.mark.parametrize(
    "line",
    [
        *["import pack.inner.deep", "from pack.inner import deep", "from pack.inner.deep import Z"],
        *["from pack.inner.deep import *", "def late():\n    import pack.inner.deep as d"],
        "import importlib\nimportlib.import_module('pack.inner.deep')",
    ],
)
def test_every_way_to_import_is_followed(here: Path, line: str) -> None:
    write(here, layer=f"{line}\n", pack_init="", pack__inner_init="I = 1\n", pack__inner__deep="Z = 1\n")
    assert list(code_of("layer:Norm").modules) == ["layer", "pack", "pack.inner", "pack.inner.deep"]


def test_relative_imports_are_followed_in_modules_and_in_packages(here: Path) -> None:
    write(here, pack_init="from .layers import Norm\n", pack__layers="from . import scale\nfrom .sub import a\n")
    write(here, pack__scale="S = 1\n", pack__sub_init="from ..scale import S\nfrom .a import A\n")
    write(here, pack__sub__a="A = 1\n", pack__unused="U = 1\n")
    names = ["pack", "pack.layers", "pack.scale", "pack.sub", "pack.sub.a"]
    assert list(code_of("pack.layers:Norm").modules) == names == list(code_of("pack:Norm").modules)


def test_a_folder_without_an_init_file_and_a_circle_of_imports_are_followed(here: Path) -> None:
    write(here, plain__layer="from plain import scale\n", plain__scale="import plain.layer\n")
    code = code_of("plain.layer:Norm")
    assert list(code.modules) == ["plain.layer", "plain.scale"]
    assert code.unread == ()


def test_code_of_frameworks_is_not_read_and_other_packages_are_named(here: Path) -> None:
    assert code_of("torch.nn:GroupNorm") == OwnCode({}, (), ())
    write(here, layer="import os, math, torch, numpy as np, rich.table, bnlab.norms, no_such_module\n")
    code = code_of("layer:Norm")
    assert (list(code.modules), code.packages) == (["layer"], ("rich",))


def test_an_installed_package_consists_of_its_own_modules(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = here / "lib" / "site-packages"
    write(installed, theirs_init="import needed\n", theirs__layer="from theirs import scale\n")
    write(installed, theirs__scale="S = 1\n", needed="N = 1\n")
    monkeypatch.syspath_prepend(str(installed))
    code = code_of("theirs.layer:Norm")
    assert (list(code.modules), code.packages) == (["theirs", "theirs.layer", "theirs.scale"], ("needed",))


def test_what_is_in_no_hash_is_told(here: Path) -> None:
    write(here, layer="import helper, importlib, os\nK = open('k.txt').read()\nL = os.environ['L']\n")
    write(here, helper="import importlib\nfor name in 'ab':\n    importlib.import_module(name)\nopen('told')\n")
    assert set(code_of("layer:Norm").unread) == {
        "what layer reads by open in line 2",
        "what layer reads by environ in line 3",
        "what line 3 imports of helper",
        "what helper reads by open in line 4",
    }
    assert code_of("nowhere:Norm").unread == ("the code of nowhere, which has no file",)


@pytest.mark.parametrize(
    "line",
    [
        "importlib.util.spec_from_file_location('h', 'h.py')",
        "importlib.machinery.SourceFileLoader('h', 'h.py')",
        "runpy.run_path('h.py')",
        "runpy.run_module('h')",
    ],
)
def test_code_that_is_run_without_an_import_is_told(here: Path, line: str) -> None:
    write(here, layer="import helper\n", helper=f"import importlib.util, importlib.machinery, runpy\nh = {line}\n")
    assert code_of("layer:Norm").unread == ("what line 2 imports of helper",)


def test_what_is_no_python_source_is_known_by_its_bytes(here: Path) -> None:
    write(here, layer="import broken\n", broken="def (:\n")
    before = digest()
    (here / "broken.py").write_bytes(b"\xff\xfe\x00")
    assert digest() not in {before, None}


def test_the_code_of_an_imported_module_is_that_which_was_imported(here: Path) -> None:
    write(here, layer=LAYER, helper="K = 1.0\n")
    importlib.import_module("layer")
    remember_as_loaded("layer:Norm")
    before = digest()
    assert changed_since_loaded("layer:Norm") == []
    write(here, helper="K = 0.01\n")
    assert digest() == before, "the process still computes with 1.0"
    assert changed_since_loaded("layer:Norm") == ["helper"]
    importlib.reload(sys.modules["helper"])
    importlib.reload(sys.modules["layer"])
    remember_as_loaded("layer:Norm")
    after = digest()
    assert after != before
    assert changed_since_loaded("layer:Norm") == []
    write(here, helper="K = 7.0\n")
    forget_loaded("layer:Norm")
    assert importlib.import_module("layer").Norm.k == 7.0
    assert digest() not in {before, after}


def test_a_module_that_is_reloaded_without_a_word_counts_as_it_is_now(here: Path) -> None:
    write(here, layer=LAYER, helper="K = 1.0\n")
    importlib.import_module("layer")
    remember_as_loaded("layer:Norm")
    before = digest()
    write(here, helper="K = 0.01\n")
    importlib.reload(sys.modules["helper"])
    assert digest() != before
    assert changed_since_loaded("layer:Norm") == []


def test_folders_without_init_files_may_lie_in_each_other(here: Path) -> None:
    (here / "space" / "inner").mkdir(parents=True)
    (here / "space" / "inner" / "layer.py").write_text("from .helper import K\nfrom ..top import T\n")
    (here / "space" / "inner" / "helper.py").write_text("K = 1\n")
    (here / "space" / "top.py").write_text("T = 1\n")
    assert list(code_of("space.inner.layer:Norm").modules) == ["space.inner.helper", "space.inner.layer", "space.top"]


def test_an_own_module_may_have_the_name_of_one_of_python(here: Path) -> None:
    write(here, this="class Norm: ...\n")  # importing Python's own prints a poem, so nothing has it in use
    before = digest("this:Norm")
    write(here, this="class Norm: k = 1\n")
    assert None is not before != digest("this:Norm")


@pytest.mark.parametrize("call", ["import_module('.deep', __package__)", "import_module('.deep', package=__package__)"])
def test_a_relative_import_by_a_call_is_followed(here: Path, call: str) -> None:
    write(here, pack_init="", pack__layer=f"from importlib import import_module\n{call}\n", pack__deep="Z = 1\n")
    code = code_of("pack.layer:Norm")
    assert list(code.modules) == ["pack", "pack.deep", "pack.layer"]
    assert code.unread == ()


def test_a_relative_import_from_another_package_is_told(here: Path) -> None:
    write(here, layer="import importlib\nimportlib.import_module('.deep', 'pack')\n")
    assert code_of("layer:Norm").unread == ("what line 2 imports of layer",)


def test_a_number_sign_after_a_form_feed_in_a_string_is_no_comment(here: Path) -> None:
    write(here, layer="class Norm: k = '\f# 1'\n")
    before = digest()
    write(here, layer="class Norm: k = '\f# 2'\n")
    assert digest() != before
