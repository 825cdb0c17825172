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
            "must have a name of its own: saturation is one of bnlab's",
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


MINE = "class Mine(Diagnostic):\n    name = 'mine'\n    unit = 'one'\n    vectorizable = True\n"


def refusal_of(module):
    with pytest.raises(ConfigError) as caught:
        bnlab.train([*QUICK, f"diagnostics.names=['{module}:Mine']"])
    assert not Path("runs").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("result", "got", "cure"),
    [
        ("{'a': 1.0}", "got float", "Write x.mean(), not x.mean().item()"),
        ("{'a': torch.ones(3)}", "got a tensor of shape (3,)", "Write x.mean()"),
        ("{'a': torch.ones(3).numpy().mean()}", "got numpy.float32", "Do not call .numpy(), or write torch.as_tensor("),
        ("{'a': 'large'}", "got str", "Only numbers"),
        ("{0: torch.ones(())}", "got 0 for a layer's name", "the keys of seen.weights"),
        ("None", "got NoneType", "Return a dictionary such as {role:"),
        (
            "{'a': seen.weights['hidden9'].max()}",
            "fails when it measures: KeyError: 'hidden9' (instruments_",
            "line 10",
        ),
    ],
)
def test_what_is_no_scalar_tensor_is_refused_before_any_folder_is_made(write, result, got, cure):
    message = refusal_of(write(f"{MINE}    def measure(self, seen): return {result}"))
    assert got in message
    assert cure in message.partition(got)[2]


@pytest.mark.slow
def test_a_sweep_refuses_it_once(write, bnlab_says):
    module = write(f"{MINE}    def measure(self, seen): return {{'a': 1.0}}")
    answer = bnlab_says("sweep", *QUICK, f"diagnostics.names=['{module}:Mine']", "seed=0,1", "norm=batch,none")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("Mine.measure must return") == 1
    assert not Path("runs").exists()


CHANGES = {
    "abs_": ("[w.abs_() for w in seen.weights.values()]", "the weight hidden1.linear.weight"),
    "data": ("[w.data.mul_(0.5) for w in seen.weights.values()]", "the weight hidden1.linear.weight"),
    "another tensor": (
        "[setattr(p, 'data', 2 * p.data) for p in seen.passes.network.parameters()]",
        "the weight hidden1.linear.weight",
    ),
    "frozen": ("seen.passes.network.requires_grad_(False)", "requires_grad of the weight hidden1.linear.weight"),
    "a buffer": ("seen.passes.network.train()(seen.probe.inputs)", "the buffer hidden1.norm.running_mean"),
    "what others measure": ("seen.preactivations['hidden2'].abs_()", "seen.preactivations['hidden2']"),
    "images": ("seen.probe.inputs.data.add_(1)", "seen.probe.inputs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_instrument_that_changes_what_it_sees_is_refused(write, change):
    code, what = CHANGES[change]
    message = refusal_of(write(f"{MINE}    def measure(self, seen):\n        {code}\n        return {{}}"))
    assert message.startswith(f"diagnostics.names: mine (Mine) changes {what}, and a diagnostic must not change what")
    assert ("Run the network by seen.passes.logits(images)" if "buffer" in what else "Work on") in message


LATER = f"""{MINE}    seen_at = 0
    def measure(self, seen):
        self.seen_at += 1
        if self.seen_at > 3:
            for weight in seen.weights.values():
                weight.mul_(0.5)
        return {{role: weight.abs().max() for role, weight in seen.weights.items()}}
"""


@pytest.mark.parametrize("engine", ["sequential", pytest.param("vectorized", marks=pytest.mark.slow)])
@pytest.mark.parametrize("at_once", [True, False])
def test_one_that_changes_weights_later_fails_the_run(write, engine, at_once):
    module = write(LATER.replace("vectorizable = True", f"vectorizable = {at_once}"))
    words = [*QUICK, f"diagnostics.names=['{module}:Mine']"]
    if engine == "sequential":
        with pytest.raises(RunError, match="mine \\(Mine\\) changes the weight"):
            bnlab.train(words)
    else:
        done = run_sweep([*words, "seed=0,1", "name=s", "sweep.engine=vectorized"], jobs=1)
        assert all(summary.status == "failed" for summary in done.summaries)
        assert all("mine (Mine) changes the weight" in reason for reason in done.reasons.values())


@pytest.mark.parametrize("name", ["saturation", "statistic_noise"])
def test_a_name_of_bnlabs_own_is_refused_for_another_class(write, name):
    message = refusal_of(write(MINE.replace("'mine'", f"'{name}'") + RETURNS_NOTHING))
    assert f"must have a name of its own: {name} is one of bnlab's" in message


@pytest.mark.slow
def test_the_example_of_the_page_is_measured_too(write):
    page = (Path(__file__).parents[2] / "docs" / "own.md").read_text(encoding="utf-8")
    example = next(text for text in page.split("```python")[1:] if "LargestWeight" in text).partition("```")[0]
    assert len(example.strip().splitlines()) <= 15
    module = write(example)
    summary = bnlab.train([*QUICK, f"diagnostics.names=[saturation,'{module}:LargestWeight']"])
    assert records(summary.folder, "largest_weight")
