"""A diagnostic of one's own, as its docstring shows it: found by its place or by an entry point, measured like ours."""

import sys
from pathlib import Path

import pytest

import bnlab
from bnlab.diagnostics import diagnostic as contract
from bnlab.errors import ConfigError, RunError
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.execute import run_sweep

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "model.width=8", "loggers=[]"]

HEAD = """
from torch import Tensor
import torch
from bnlab.diagnostics.diagnostic import Diagnostic, Observation

"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module into the current folder; return its name, one of its own for each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"instruments_{tmp_path.name.replace('-', '_')}"

    def put(text):
        Path(f"{name}.py").write_text(HEAD + text)
        return name

    yield put
    sys.modules.pop(name, None)


def from_the_docstring():
    """Return the example that the contract's docstring shows."""
    lines = contract.__doc__.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    class "))
    end = next(i for i, line in enumerate(lines) if "diagnostics.names=" in line)
    return "\n".join(line.removeprefix("    ") for line in lines[start:end]).strip() + "\n"


def records(folder, name):
    return [one for one in RunFolder(Path(folder)).read_records() if one["name"] == name]


def test_the_example_has_no_more_than_fifteen_lines_and_measures_what_it_says(write):
    example = from_the_docstring()
    assert len(example.splitlines()) <= 15
    module = write(example)
    summary = bnlab.train([*QUICK, f"diagnostics.names=[saturation,'{module}:LargestWeight']"])
    found = records(summary.folder, "largest_weight")
    model = bnlab.load_model(summary.folder)
    assert found[-1]["step"] == 20
    assert found[-1]["values"] == {
        role: pytest.approx(weight.abs().max().item(), rel=1e-6) for role, weight in model.weights.items()
    }


@pytest.mark.slow
def test_in_a_cohort_each_run_has_the_values_that_it_has_alone(write):
    module = write(from_the_docstring())
    words = [*QUICK, f"diagnostics.names=[saturation,'{module}:LargestWeight']", "name=s"]
    together = run_sweep([*words, "seed=0,1", "sweep.engine=vectorized"], jobs=1)
    for summary in together.summaries:
        alone = bnlab.train([*words[:-1], f"seed={summary.seed}"])
        for ours, theirs in zip(
            records(summary.folder, "largest_weight"), records(alone.folder, "largest_weight"), strict=True
        ):
            assert ours["values"] == pytest.approx(theirs["values"], rel=1e-4)


def test_an_installed_package_adds_a_name(write, tmp_path, monkeypatch):
    module = write(from_the_docstring())
    info = tmp_path / "site" / "measuring-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: measuring\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[bnlab.diagnostics]\nlargest_weight = {module}:LargestWeight\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    summary = bnlab.train([*QUICK, "diagnostics.names=[largest_weight]"])
    assert records(summary.folder, "largest_weight")
    with pytest.raises(ConfigError, match=r"largest_wieght is not known\. Did you mean largest_weight\?"):
        bnlab.train([*QUICK, "diagnostics.names=[largest_wieght]"])


RETURNS_NOTHING = "    def measure(self, seen): return {}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine: pass", r"must be a subclass of bnlab\.diagnostics\.diagnostic\.Diagnostic"),
        (f"class Mine(Diagnostic):\n{RETURNS_NOTHING}", "must have a name and a unit"),
        (
            f"class Mine(Diagnostic):\n    name = 'a/b'\n    unit = 'one'\n{RETURNS_NOTHING}",
            "must have a name of letters, digits and _, got 'a/b'",
        ),
        (
            "class Mine(Diagnostic):\n    name = 'mine'\n    unit = 'one'\n    def __init__(self, k): pass\n"
            f"{RETURNS_NOTHING}",
            "cannot be built without arguments",
        ),
        (
            f"class Mine(Diagnostic):\n    name = 'saturation'\n    unit = 'one'\n{RETURNS_NOTHING}",
            "saturation stands there twice",
        ),
        ("raise OSError('no luck')", r"cannot be imported: OSError: no luck\. It is read as package\.module:Class"),
        ("Other = 1", r"cannot be imported: \w+ has no Mine\. It is read as package\.module:Class"),
    ],
)
def test_what_is_no_diagnostic_is_refused_before_any_folder_is_made(write, text, message):
    module = write(text)
    with pytest.raises(ConfigError, match=message):
        bnlab.train([*QUICK, f"diagnostics.names=[saturation,'{module}:Mine']"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("engine", ["sequential", "vectorized"])
@pytest.mark.parametrize(
    ("result", "got"),
    [("{'a': 1.0}", "float"), ("{'a': torch.ones(3)}", r"a tensor of shape \(3,\)"), ("None", "NoneType")],
)
def test_what_is_no_scalar_tensor_fails_the_run_with_one_sentence(write, result, got, engine):
    module = write(
        "class Mine(Diagnostic):\n    name = 'mine'\n    unit = 'one'\n    vectorizable = True\n"
        f"    def measure(self, seen): return {result}"
    )
    words = [*QUICK, f"diagnostics.names=['{module}:Mine']"]
    message = rf"Mine\.measure must return layer -> scalar tensor, got {got}"
    if engine == "sequential":
        with pytest.raises(RunError, match=message):
            bnlab.train(words)
    else:
        done = run_sweep([*words, "seed=0,1", "name=s", "sweep.engine=vectorized"], jobs=1)
        assert all(summary.status == "failed" for summary in done.summaries)
        assert all("Mine.measure must return" in reason for reason in done.reasons.values())


@pytest.mark.slow
def test_the_example_of_the_readme_is_measured_too(write):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    example = next(text for text in readme.split("```python")[1:] if "LargestWeight" in text).partition("```")[0]
    assert len(example.strip().splitlines()) <= 15
    module = write(example)
    summary = bnlab.train([*QUICK, f"diagnostics.names=[saturation,'{module}:LargestWeight']"])
    assert records(summary.folder, "largest_weight")
