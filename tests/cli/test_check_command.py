import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnlab.conformance import laws
from bnlab.norms.names import NORMS

Say = Callable[..., Any]

OWN = """
import torch
from torch import nn


class Unbiased(nn.BatchNorm1d):
    '''Normalizes by the unbiased variance.'''

    def forward(self, x):
        if self.training and x.numel() > x.shape[1]:
            super().forward(x)
            axes = [axis for axis in range(x.dim()) if axis != 1]
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            mean, var = wide.mean(axes, keepdim=True), wide.var(axes, correction=1, keepdim=True)
            shape = (1, -1) + (1,) * (x.dim() - 2)
            y = (wide - mean) / (var + self.eps).sqrt()
            return (y * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)
        return super().forward(x)


class NoNumbers(nn.Module):
    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x / 0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_{re.sub(r'[^a-z0-9]', '_', tmp_path.name.lower())}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield name
    sys.modules.pop(name, None)


def only(*laws: str) -> list[str]:
    return [word for law in laws for word in ("--only", law)]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        pytest.param(
            "torch.nn:BatchNorm2d", only("training output", "running update", "eval leaves buffers"), id="three laws"
        ),
        pytest.param("batch_torch", [], id="all laws", marks=pytest.mark.slow),
    ],
)
def test_check_prints_laws_facts_and_one_closing_line(bnlab_says: Say, layer: str, words: list[str]) -> None:
    answer = bnlab_says("check", layer, *words)
    assert (answer.status, answer.err) == (0, "")
    for text in ("training output", "eval leaves buffers", "0.1 is the share of the new value, as in PyTorch"):
        assert text in answer.out
    assert re.search(r"Every law holds: \d+ judged, \d+ do not apply\.\n$", answer.out)


def test_check_shows_cause_and_smallest_example_of_a_fault_and_exits_with_1(bnlab_says: Say, own: str) -> None:
    answer = bnlab_says("check", f"{own}:Unbiased", *only("training output", "eval output"))
    assert (answer.status, answer.err) == (1, "")
    assert "likely cause: the variance in the output is the unbiased one" in answer.out
    assert re.search(r"input +\[\[-3\], \[1\]\]", answer.out)
    assert re.search(r"should be +\[\[-1\.249998\], \[1\.749998\]\]", answer.out)
    assert re.search(r"1 of \d+ laws does not hold\.\n$", answer.out)


def test_check_json_is_one_object_without_a_nan(bnlab_says: Say, own: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    answer = bnlab_says("check", f"{own}:Unbiased", "--json", *only("training output", "eval output"))
    report = json.loads(answer.out, parse_constant=refuse)
    assert (answer.status, report["holds"], report["like"]) == (1, False, "batch")
    [law] = [law for law in report["laws"] if law["status"] == "does not hold"]
    assert (law["law"], law["example"]["given"]) == ("training output", [[-3.0], [1.0]])
    numberless = json.loads(bnlab_says("check", f"{own}:NoNumbers", "--json").out, parse_constant=refuse)
    assert [law["law"] for law in numberless["laws"] if law["status"] == "does not hold"] == ["input"]


def test_check_takes_options_and_a_family(bnlab_says: Say) -> None:
    words = ["norm.num_groups=2", "norm.eps=1e-3", *only("training output"), "--like", "group"]
    answer = bnlab_says("check", "torch.nn:GroupNorm", *words)
    assert answer.status == 0
    assert re.search(r"eps +0\.001", answer.out)
    assert bnlab_says("check", "torch.nn:GroupNorm", *words[:-2]).status == 1  # held against BatchNorm's laws


def test_check_only_judges_the_law_named_and_those_it_relies_on(bnlab_says: Say, own: str) -> None:
    answer = bnlab_says("check", f"{own}:Unbiased", *only("momentum=None", "order"), "--json")
    report = json.loads(answer.out)
    assert (answer.status, report["holds"]) == (0, True)
    assert [law["law"] for law in report["laws"]] == ["input", "running update", "momentum=None", "order"]
    text = bnlab_says("check", f"{own}:Unbiased", *only("training output"))
    assert text.status == 1
    assert "1 of 2 laws does not hold" in text.out
    assert "eval output" not in text.out


def test_check_only_holds_for_the_whole_catalog(bnlab_says: Say) -> None:
    answer = bnlab_says("check", "--only", "input")
    assert answer.status == 0
    assert f"Every law holds of {len(NORMS)} norms: {len(NORMS)} judged, 0 do not apply" in answer.out


@pytest.mark.slow
def test_check_without_a_name_holds_all_norms_against_their_laws(
    bnlab_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_named = functools.cache(laws.check_named)  # a layer is tested once, and printed as text and as JSON
    monkeypatch.setattr(laws, "check_named", check_named)
    answer = bnlab_says("check")
    assert answer.status == 0
    assert all(re.search(rf"^ ?{name} ", answer.out, re.MULTILINE) for name in NORMS)
    assert f"Every law holds of {len(NORMS)} norms" in answer.out
    report = json.loads(bnlab_says("check", "--json").out)
    assert report["holds"] is True
    assert [layer["layer"] for layer in report["layers"]] == list(NORMS)


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["bacth"], "Did you mean batch"),
        (["batch", "norm.momentom=1"], "Did you mean momentum"),
        (["batch", "momentum=1"], r"write norm\.<option>=<value>"),
        (["batch", "norm.momentum=7"], r"norm\.momentum must be in \[0, 1\], got 7"),
        (["batch", "--like", "bach"], "Did you mean batch"),
        (["torch.nn:GroupNorm"], r"Add norm\.num_groups=<value>"),
        (["batch", "--only", "evl output"], r"no law 'evl output'\. Did you mean eval output"),
        (["torch.nn:functional"], "must be a subclass of torch.nn.Module"),
        (["--like", "batch"], "need the name of a layer"),
    ],
)
def test_wrong_words_get_a_cure_on_standard_error(bnlab_says: Say, words: list[str], cure: str) -> None:
    answer = bnlab_says("check", *words)
    assert (answer.status, answer.out) == (2, "")
    assert re.search(cure, answer.err)
    assert 1 <= len(answer.err.strip().splitlines()) <= 3


@pytest.mark.slow
def test_help_of_check_does_not_wait_for_torch() -> None:
    program = (
        "import sys; sys.argv = ['bnlab', 'check', '--help']\n"
        "from bnlab.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "bnlab check torch.nn:GroupNorm norm.num_groups=2 --like group" in " ".join(done.stdout.split())
