"""The code of own classes, by source files written here."""

import importlib
import sys
from pathlib import Path

import pytest
from own_modules import write

from bnlab.cli import app
from bnlab.errors import ConfigError
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


@pytest.mark.slow
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
        "layer reads a file (open, line 2)",
        "layer reads the environment (environ, line 3)",
        "helper runs code that no import names (import_module, line 3)",
        "helper reads a file (open, line 4)",
    }
    assert code_of("nowhere:Norm").unread == ("nowhere has no file of source code",)


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
    assert [phrase[:38] for phrase in code_of("layer:Norm").unread] == ["helper runs code that no import names "]


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
    assert changed_since_loaded("layer:Norm") == {}
    write(here, helper="K = 0.01\n")
    assert digest() == before, "the process still computes with 1.0"
    assert list(changed_since_loaded("layer:Norm")) == ["helper"]
    importlib.reload(sys.modules["helper"])
    importlib.reload(sys.modules["layer"])
    remember_as_loaded("layer:Norm")
    after = digest()
    assert after != before
    assert changed_since_loaded("layer:Norm") == {}
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
    assert changed_since_loaded("layer:Norm") == {}


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
    assert code_of("layer:Norm").unread == ("layer runs code that no import names (import_module, line 2)",)


def test_a_number_sign_after_a_form_feed_in_a_string_is_no_comment(here: Path) -> None:
    write(here, layer="class Norm: k = '\f# 1'\n")
    before = digest()
    write(here, layer="class Norm: k = '\f# 2'\n")
    assert digest() != before


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("from numpy import fromfile as ff; ff('a')", "reads a file (fromfile, line 1)"),
        ("import configparser as c; c.ConfigParser().read('a.ini')", "reads a file (read, line 1)"),
        ("import pandas as pd; pd.read_parquet('a')", "reads a file (read_parquet, line 1)"),
        ("from safetensors.torch import load_file; load_file('a')", "reads a file (load_file, line 1)"),
        ("from os import environ as e; K = e['K']", "reads the environment (environ, line 1)"),
        ("import subprocess as s; s.run('a')", "runs another program (run, line 1)"),
        ("from os import listdir; listdir()", "reads a folder (listdir, line 1)"),
        ("from .state import load; load(); self.load(); f.read(); self.memory.read(4)", None),
        ("def open(x): ...\nopen(1); a.run(); environ = 1; b = environ", None),
    ],
)
def test_what_reads_files_the_environment_or_programs_is_told(here: Path, line: str, phrase: str | None) -> None:
    write(here, layer=f"{line}\n")
    assert code_of("layer:Norm").unread == ((f"layer {phrase}",) if phrase else ())


@pytest.mark.parametrize("end", ["", "f"])
def test_blanks_and_empty_lines_in_a_string_count_but_not_in_a_docstring(here: Path, end: str) -> None:
    def of(text: str) -> str | None:
        write(here, layer=text)
        return digest()

    table = end + "'''a\nb \n{1}\n'''"
    texts = [table, table.replace("b ", "b"), table.replace("{", "\n{"), table.replace("a", "a\n")]
    assert len({of(f"T = {text}\n") for text in texts}) == 4
    assert of(f"T = {table}  \n\nK = 1\n") == of(f"T = {table}\nK = 1\n")
    assert of("def f():\n  '''a\n\n  b \n  '''\n") == of("def f():\n  '''a\n  b\n  '''\n")


def test_an_own_helper_with_a_name_of_pythons_counts_unless_pythons_is_in_use(here: Path) -> None:
    write(here, layer="import chunk_of, sched, calendar, os\n", sched="K = 1\n", calendar="K = 1\n", os="K = 1\n")
    import calendar  # noqa: F401, PLC0415

    sys.modules.pop("sched", None)
    assert list(code_of("layer:Norm").modules) == ["layer", "sched"]
    before = digest()
    write(here, sched="K = 2\n")
    assert digest() != before
    (here / "sched.py").unlink()
    importlib.invalidate_caches()
    assert list(code_of("layer:Norm").modules) == ["layer"]


def test_an_installed_class_is_its_own_module_and_the_version_of_its_package(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = here / "lib" / "site-packages"
    write(installed, versioned_init="import needed\n", versioned__layer="import rich\nfrom versioned import scale\n")
    write(installed, versioned__scale="S = 1\n")
    (installed / "versioned-1.2.dist-info").mkdir()
    (installed / "versioned-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: versioned\nVersion: 1.2\n"
    )
    monkeypatch.syspath_prepend(str(installed))
    code = code_of("versioned.layer:Norm")
    assert list(code.modules) == ["the package versioned", "versioned.layer"]
    assert (code.modules["the package versioned"], code.packages) == ("1.2", ("rich",))


def test_modules_of_the_current_folder_come_first_wherever_it_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "c", layer="K = 1\n")
    write(here / "d", layer="K = 2\n")
    digests = []
    for folder in ("c", "d", "c"):
        monkeypatch.chdir(here / folder)
        digests.append(digest())
    assert digests[0] == digests[2] != digests[1]
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert digest() == digests[2]
    with pytest.raises(ConfigError, match="the current folder no longer exists"):
        app._run_app()
