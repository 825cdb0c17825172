"""Every command line that pages, help texts and comments of conf/ show, typed as it stands there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from example_studies import write_studies
from typed_lines import (
    ROOT,
    blocks,
    cut_runs,
    lines_of_comments,
    lines_of_help,
    lines_of_pages,
    scripts_of_pages,
    type_all,
    write_data,
    write_own_parts,
)

import bnlab
from bnlab.sweeps.execute import run_sweep


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What README tells its reader to write, data sets, runs that are cut short, a sweep, results of studies.

    One folder for all lines, so that what a line has trained is there for the next one.
    """
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        write_data(folder / "data", patch)
        patch.setenv("BNLAB_DATA", str(folder / "data"))
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        write_own_parts(folder)
        cut_runs(patch)
        write_studies(folder / "runs" / "studies")
        for norm in ("batch", "none"):
            bnlab.train(["name=my_sweep", "data=digits", "train.steps=5", "diagnostics=full", f"norm={norm}"])
        small = ["data=synthetic", "train.steps=5", "model.width=8", "norm=batch,none", "seed=range(3)"]
        for words in (["name=pilot"], ["name=my_grid", "optim.lr=0.1,1", "optim.weight_decay=0,0.01"]):
            run_sweep([*small, *words])
        yield folder


@pytest.fixture
def surroundings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's folder, as the current one."""
    monkeypatch.setenv("BNLAB_DATA", str(place / "data"))
    monkeypatch.chdir(place)


def is_of_studies(line: str) -> bool:
    return " study " in line or "studies" in line


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_line_about_studies_does_what_it_says(
    bnlab_says: Callable[..., Any], started: Callable[..., Any]
) -> None:
    lines = dict.fromkeys([*lines_of_pages(), *lines_of_help(), *lines_of_comments()])
    wrong = type_all(filter(is_of_studies, lines), bnlab_says, started, lambda _: "my_sweep")
    assert wrong == []


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_other_line_of_the_pages_does_what_it_says(
    bnlab_says: Callable[..., Any], started: Callable[..., Any]
) -> None:
    lines = [line for line in lines_of_pages() if not is_of_studies(line)]
    wrong = type_all(lines, bnlab_says, started, lambda typed: "sigmoid" if typed.count("RUN") > 1 else "wide")
    assert wrong == []


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_other_example_of_the_help_texts_does_what_it_says(
    bnlab_says: Callable[..., Any], started: Callable[..., Any]
) -> None:
    bnlab.train(["data=digits"])
    lines = [line for line in lines_of_help() if line not in lines_of_pages() and not is_of_studies(line)]
    assert type_all(lines, bnlab_says, started, lambda _: "my_sweep") == []


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_other_command_in_a_comment_of_conf_does_what_it_says(
    bnlab_says: Callable[..., Any], started: Callable[..., Any]
) -> None:
    others = [*lines_of_pages(), *lines_of_help()]
    lines = [line for line in lines_of_comments() if line not in others and not is_of_studies(line)]
    assert type_all(lines, bnlab_says, started, lambda _: "my_sweep") == []


def test_the_lines_are_found() -> None:
    assert "bnlab compare wide" in lines_of_pages()
    assert "bnlab train" in lines_of_help()
    assert "bnlab lr-sensitivity optim=adam 'optim.lr=logspace(1e-5,1,11)' 'seed=range(10)'" in lines_of_help()
    assert "bnlab train data=cifar100 model=cnn" in lines_of_comments()
    assert "bnlab train -m norm=batch,layer,none model=my_models:Digits" in lines_of_pages()


ASK_ALL = """
import contextlib, io, json, runpy, sys
said = {}
for script in sys.argv[1:]:
    sys.argv, sys.path[0], out = [script, "--help"], script.rpartition("/")[0], io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        said[script] = (ending.code or 0, out.getvalue()[:6])
print(json.dumps(said))
"""
"""Asks each script for its help, one after another in a process that imports torch once."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_every_script_that_a_page_names_is_there_and_says_what_it_does() -> None:
    names = scripts_of_pages()
    of_python = [str(ROOT / name) for name in names if name.endswith(".py")]
    asked = subprocess.run([sys.executable, "-c", ASK_ALL, *of_python], capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    assert len(said) == len(of_python) > 5
    for name, (status, first) in said.items():
        assert (status, first) == (0, "usage:"), name
    for name in names:
        script = ROOT / name
        assert script.exists(), name
        if not name.endswith(".py"):
            assert os.access(script, os.X_OK), name
            assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_completion_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    assert "bnlab --install-completion" in lines_of_pages()
    typed = f"PATH={Path(sys.executable).parent}:$PATH; bnlab --install-completion; exit $?"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["bash", "-c", typed], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "installed" in done.stdout) == (0, True), done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_the_python_of_the_page_of_own_parts_runs() -> None:
    exec(Path("page_own.py").read_text(encoding="utf-8"), {})


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_the_python_of_the_page_of_networks_runs_and_prints_the_table_that_it_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(Path("page_models.py").read_text(encoding="utf-8"), {"__name__": "__main__"})
    (shown,) = blocks(ROOT / "docs" / "models.md", "text")
    said = capsys.readouterr().out.splitlines(keepends=True)
    assert [line.split()[0] for line in said[:3]] == ["batch", "layer", "none"]
    assert "".join(said[3:]) == shown
