"""Imports that fail because of what is around the code."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_modules import write

import bnlab
from bnlab import norms
from bnlab.cli import app
from bnlab.errors import ConfigError
from bnlab.experiment import single

PROFILE = "./profile.py hides Python's module profile. Rename it."
IN_THE_WAY = [
    ("profile.py", "X = 1\n", "cProfile", PROFILE),
    ("profile.py", "1 / 0\n", "cProfile", PROFILE),
    ("profile/__init__.py", "", "cProfile", "./profile/ hides Python's module profile. Rename it."),
    ("email/__init__.py", "", "email.parser", "./email/ hides Python's module email. Rename it."),
]
NO_MEMORY = "libtorch_cpu.so: failed to map segment from shared object"


@pytest.fixture(params=IN_THE_WAY, ids=lambda row: row[0])
def hidden(
    request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., None], str]:
    """What imports a hidden module of Python's, as torch would, and what is to be said."""
    file, text, module, said = request.param
    (here / file).parent.mkdir(exist_ok=True)
    (here / file).write_text(text)
    write(here, needs=f"import {module}\n")
    for name in ("profile", "cProfile", "email", "email.parser", "needs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return lambda *_: importlib.import_module("needs") and None, said


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command line says of an error."""

    def say(run: Callable[..., object]) -> str:
        monkeypatch.setattr(app, "_run_app", run)
        monkeypatch.setattr(sys, "argv", ["bnlab"])
        with pytest.raises(SystemExit) as ending:
            app.main()
        assert ending.value.code == 2
        return capsys.readouterr().err

    return say


def test_what_hides_a_module_of_pythons_is_told_in_one_line(
    hidden: tuple[Callable[..., None], str], says: Callable[..., str]
) -> None:
    run, said = hidden
    assert says(run) == f"error: {said}\n"


def test_python_is_told_it_too(hidden: tuple[Callable[..., None], str], monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = hidden
    monkeypatch.setattr(single, "compose_run", run)
    with pytest.raises(ConfigError) as refused:
        single.train([])
    assert str(refused.value) == said


def test_a_public_name_that_cannot_be_imported_tells_why(
    hidden: tuple[Callable[..., None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bnlab._PUBLIC, "norms", "needs")
    monkeypatch.setitem(norms._PLACES, "build_norm", "needs")
    for package, name in ((bnlab, "norms"), (norms, "build_norm")):
        with pytest.raises(ConfigError) as refused:
            package.__getattr__(name)
        assert str(refused.value) == hidden[1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError(NO_MEMORY), f"there is too little memory ({NO_MEMORY}). Free some, or raise the limit that"),
        (
            ImportError("libx.so: cannot create shared object: Cannot allocate memory"),
            "there is too little memory (lib",
        ),
        (MemoryError(), "there is too little memory. Free some"),
    ],
)
def test_too_little_memory_is_told_in_one_line(error: Exception, said: str, says: Callable[..., str]) -> None:
    def run() -> None:
        raise error

    answer = says(run)
    assert answer.startswith(f"error: {said}")
    assert answer.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("a fault of bnlab's"), ImportError("cannot import name 'x'")])
def test_any_other_error_is_not_hidden(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise error

    monkeypatch.setattr(app, "_run_app", run)
    monkeypatch.setattr(sys, "argv", ["bnlab"])
    with pytest.raises(type(error)):
        app.main()
    assert not capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the address space of a process")
def test_torch_does_not_fit_into_half_a_gigabyte() -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "from bnlab.cli.app import main\n"
        "main()"
    )
    words = [sys.executable, "-c", program, "train", "data=synthetic", "train.steps=1"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: there is too little memory (libtorch")
    assert answer.stderr.count("\n") == 1
