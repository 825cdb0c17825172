import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Say = Callable[..., Any]


def test_a_lesson_goes_to_standard_output_and_nothing_is_written(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("explain", "batch", "--shape", "4,8,4,4")
    assert (answer.status, answer.err) == (0, "")
    assert "N·H·W = 4·4·4 = 64 values; there are 8, one per C." in " ".join(answer.out.split())
    assert "Backward: three terms" in answer.out
    assert "running_var[0] = 0.9 · 1 + 0.1" in answer.out
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_there_are_no_colors(bnlab_says: Say) -> None:
    assert "\x1b" not in bnlab_says("explain", "layer").out


def test_options_are_words_as_in_train(bnlab_says: Say) -> None:
    answer = bnlab_says("explain", "group", "norm.num_groups=2", "norm.eps=1e-3", "--shape", "2,4,3,3")
    assert answer.status == 0
    assert "C in 2 groups of 2" in answer.out
    assert "eps = 0.001" in answer.out


def test_json_is_one_object_with_the_numbers(bnlab_says: Say) -> None:
    lesson = json.loads(bnlab_says("explain", "batch", "--json").out)
    assert lesson["shape"] == [4, 3]
    assert lesson["sharing"]["num_statistics"] == 3
    first = lesson["example"]["values"][0]
    assert first["x"] == 1
    assert sum(first["terms"]) == pytest.approx(first["dx"])
    assert lesson["example"]["story"]["statistics"] == pytest.approx({"mean": 4, "var": 9, "r": (9 + 1e-5) ** -0.5})
    assert [found["after"] for found in lesson["modes"]["running"]] == pytest.approx([0.4, 1.8])


def test_a_figure_is_written_and_its_place_is_told_apart_from_the_lesson(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("explain", "batch", "--svg", "batch.svg", "--json")
    assert answer.status == 0
    assert "batch.svg" in answer.err
    json.loads(answer.out)
    assert (tmp_path / "batch.svg").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bacth"], "Did you mean batch"),
        (["batch", "--shape", "4"], "--shape takes"),
        (["batch", "--shape", "1,3"], "more than one value per channel"),
        (["group", "--shape", "4,6,2,2"], "Nearest divisors: 2, 3"),
        (["instance", "--shape", "4,3"], "more than one position"),
        (["batch", "norm.momentm=1"], "Did you mean momentum?"),
        (["batch", "eps=1"], "norm.<option>=<value>"),
        (["batch", "--svg", "lesson.jpg"], "ending in .svg, .png or .pdf"),
        (["nowhere:Norm"], "cannot be imported"),
    ],
)
def test_wrong_input_gets_one_sentence_and_status_2(
    bnlab_says: Say, tmp_path: Path, words: list[str], said: str
) -> None:
    answer = bnlab_says("explain", *words)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert 1 <= len(answer.err.strip().splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_an_own_layer_is_explained_from_the_folder_where_the_command_is_typed(bnlab_says: Say, tmp_path: Path) -> None:
    (tmp_path / "centered_explained.py").write_text(
        '''from torch import nn


class Centered(nn.Module):
    """Take the mean of the batch away."""

    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x - x.mean(0)
'''
    )
    answer = bnlab_says("explain", "centered_explained:Centered")
    assert answer.status == 0
    assert "Take the mean of the batch away." in answer.out
    assert "dx = h - mean(h)" in answer.out


IN_TERMINALS = """
import json, os, sys
import bnlab.lessons.explanation, bnlab.lessons.page, rich.progress, typer  # which takes longer than what follows
for name, (encoding, environment) in json.load(sys.stdin).items():
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ.update(environment)
            sys.stdout, sys.argv = open(name, "w", encoding=encoding), ["bnlab", "explain", "batch"]
            from bnlab.cli.app import main  # looks at the terminal
            main()
        except SystemExit as ending:
            sys.stdout.close()
            status = ending.code or 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, name
"""
"""`bnlab explain` in terminals of several kinds, each in a process forked from one that has imported torch."""

TERMINALS = ["dumb", "xterm-256color", None]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is said in each terminal."""
    folder = tmp_path_factory.mktemp("terminals")
    cases: dict[str, Any] = {encoding: (encoding, {}) for encoding in ("ascii", "cp1252")}
    for terminal in TERMINALS:
        for switch in ("NO_COLOR", "FORCE_COLOR"):
            cases[f"{switch} {terminal}"] = ("utf-8", {switch: "1", **({} if terminal is None else {"TERM": terminal})})
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR", "TERM"}}
    command = [sys.executable, "-c", IN_TERMINALS]
    subprocess.run(command, input=json.dumps(cases), text=True, check=True, cwd=folder, env=environment)
    return folder


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_of_few_signs_gets_plain_letters(encoding: str, explained: Path) -> None:
    said = (explained / encoding).read_text(encoding=encoding)
    assert "r = 1 / sqrt(var + eps)" in said
    assert "?" not in said


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("terminal", TERMINALS)
def test_colors_can_be_switched_off_and_on(terminal: str | None, explained: Path) -> None:
    for switch, colored in (("NO_COLOR", False), ("FORCE_COLOR", True)):
        assert (b"\x1b[" in (explained / f"{switch} {terminal}").read_bytes()) is colored


@pytest.mark.slow
def test_help_does_not_wait_for_torch_or_matplotlib() -> None:
    program = (
        "import sys; sys.argv = ['bnlab', 'explain', '--help']\nfrom bnlab.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'matplotlib', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_lesson_without_a_figure_does_not_wait_for_matplotlib() -> None:
    program = (
        "import sys; sys.argv = ['bnlab', 'explain', 'batch']\nfrom bnlab.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
