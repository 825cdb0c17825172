"""Every diagnostic of the catalog, from real runs of every model: shown and compared, as text, figure and JSON."""

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest

import bnlab
from bnlab.config.compose import compose_run
from bnlab.diagnostics.cards import read_card
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.report import style

Say = Callable[..., Any]

SMALL = ["data=digits", "data.limit=400", "train.steps=8", "train.batch_size=20", "accept=[statistics_not_settled]"]
SMALL += ["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=2"]  # three points of each curve
SMALL += ["diagnostics.probe_size=60", "diagnostics.population_size=60"]
SIZE = {
    "mlp": ["model.width=8"],
    "cnn": ["model.width=4", "model.depth=3"],
    "vgg": ["model.width=2"],
    "resnet": ["model.width=4", "model.depth=8"],
    "residual_mlp": ["model.width=8", "model.depth=2"],
    "deep_linear": ["model.width=8", "model.depth=2"],
}
NORMS = {"mlp": ("batch", "none", "layer"), "cnn": ("batch", "none", "frn"), "resnet": ("none",), "vgg": ("layer",)}

WORDS = {
    **{
        f"{model} {norm}": [f"model={model}", *SIZE[model], f"norm={norm}", "diagnostics=full"]
        for model in SIZE
        for norm in NORMS.get(model, ("batch",))
    },
    "shallow": ["model.width=8", "model.depth=1", "model.activation=sigmoid", "diagnostics=full"],
    "cheap": ["model.width=8", "diagnostics=cheap"],
    "bare": ["model.width=8", "diagnostics=none"],
}
"""Name of a run -> the words that train it."""

PAIRS = [
    ("mlp batch", "mlp none"),
    ("cnn batch", "cnn frn"),
    ("mlp batch", "cnn batch"),
    ("mlp layer", "shallow"),
    ("mlp batch", "cheap"),
]
"""Runs that are compared: with the same layers, and with others; with the same diagnostics, and with others."""

UNDEFINED = {
    "mlp batch": {"gradient_noise_scale", "gradient_snr"},
    "mlp layer": {
        *("accuracy_by_statistics", "loss_by_statistics", "prediction_flips", "batch_statistics_noise"),
        *("running_mean_distance", "running_variance_distance"),
    },
    "mlp none": {
        "norm_scale",
        "norm_shift",
        "near_zero_channels",
        "angular_update",
        "effective_lr",
        "prediction_flips",
    },
    "shallow": {"gradient_ratio", "gradient_growth"},
    "cnn frn": {"saturation", "dead_fraction", "effective_rank", "preactivation_drift"},
    "resnet none": {"norm_scale", "angular_update"},
    "deep_linear batch": {
        *("saturation", "saturation_strict", "saturation_sides", "saturation_by_slope", "saturated_units"),
        *("saturation_degree", "zero_fraction"),
    },
}
"""Diagnostics that are undefined by their formulas; some of each run."""


BY_NAME_ONLY = {"norm_saturation", "logit_scale", "stream_variance"}
"""Diagnostics that no preset has, since one more name would give all its runs another id."""

SHOWN_FIRST = {"saturation", "dead_fraction", "gradient_norm"}
"""The diagnostics of ``diagnostics=cheap``."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train a run when a test first asks for it; return its folder."""
    place = tmp_path_factory.mktemp("instruments")
    runs: dict[str, Path] = {}

    def train(name: str) -> Path:
        if name not in runs:
            runs[name] = Path(bnlab.train([*SMALL, *WORDS[name]], runs=place).folder)
        return runs[name]

    return train


@pytest.fixture
def folders(trained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Copy a run to the folder of this test, with figures of few points."""
    monkeypatch.setattr(style, "DPI", 20)

    def copy(name: str) -> Path:
        folder = trained(name)
        return Path(shutil.copytree(folder, tmp_path / "runs" / "single" / folder.name, dirs_exist_ok=True))

    return copy


def why_absent(answer: Any, name: str) -> str:
    """Return why the answer of ``show --json`` has no value; empty if it has one."""
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert ([each["name"] for each in found["diagnostics"]], list(found["absent"])) in (([name], []), ([], [name]))
    return str(found["absent"][name]["why"]) if found["absent"] else ""


def test_a_diagnostic_is_shown_or_says_why_it_has_no_value(folders: Callable[[str], Path], bnlab_says: Say) -> None:
    run = folders("cheap")
    assert why_absent(bnlab_says("show", run.name, "saturation", "--json", "--no-figures"), "saturation") == ""
    answer = bnlab_says("show", run.name, "sharpness", "--no-figures")
    assert (answer.status, answer.err) == (0, "")
    assert "sharpness is not recorded in" in answer.out
    assert "bnlab train data=digits" in answer.out


DRAWN = {"cnn frn", "cheap", "bare"}
"""Runs of which all figures are drawn at once, which takes 0.3 CPU seconds per figure."""

DRAWN_TOGETHER = ("mlp layer", "shallow")
"""The pair of which all figures are drawn at once."""

SHARE = 4
"""Of the diagnostics that have values, one in so many is shown or compared alone for each run."""

SHARE_DRAWN = 8
"""One diagnostic in so many is drawn alone."""

FEW = ("saturation", "sharpness", "gradient_snr", "norm_scale")
"""Diagnostics that stand for all where the answer does not depend on the diagnostic."""


@contextlib.contextmanager
def figures_in_svg_alone() -> Iterator[None]:
    """Leave out the PNG of each figure, which shows the same; figures that are drawn alone have both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "KINDS", ("svg",))
        yield


def some_of_those_with(values: Container[str], number: int) -> list[str]:
    """Return all diagnostics without values, and of those with values a share that differs from run to run."""
    return [name for each, name in enumerate(DIAGNOSTICS) if name not in values or each % SHARE == number % SHARE]


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_all_diagnostics_are_shown_at_once_and_some_alone(
    name: str, folders: Callable[[str], Path], bnlab_says: Say
) -> None:
    run = folders(name)
    with figures_in_svg_alone():
        answer = bnlab_says("show", str(run), "--json", *([] if name in DRAWN else ["--no-figures"]))
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    names = {each["name"] for each in found["diagnostics"]}
    figures = found["figures"]
    if name in {"bare", "cheap"}:
        assert {*names, *found["absent"]} == (set() if name == "bare" else SHOWN_FIRST)
    else:
        assert {*names, *found["absent"]} == set(DIAGNOSTICS) - BY_NAME_ONLY
    of_diagnostics = [path for path in figures if Path(path).stem != "curves"]
    assert bool(of_diagnostics) == (name in DRAWN and bool(names))
    absent = {}
    some = some_of_those_with(names, list(WORDS).index(name))
    for diagnostic in FEW if name in {"bare", "cheap"} else some:
        answer = bnlab_says("show", str(run), diagnostic, "--no-figures")
        assert answer.status == 0, answer.err
        if diagnostic in names:
            assert "trend" in answer.out  # the heading of its values, layer by layer
            continue
        absent[diagnostic] = found["absent"].get(diagnostic, {"why": "not recorded"})["why"]
        assert f"{diagnostic} is {absent[diagnostic]} in {run.name}: " in answer.out
        if absent[diagnostic] == "undefined":
            assert read_card(diagnostic).undefined, f"{diagnostic} has no value and does not say why"
            assert read_card(diagnostic).undefined in answer.out
    assert UNDEFINED.get(name, set()) <= {each for each, why in absent.items() if why == "undefined"}
    unrecorded = {each for each, why in absent.items() if why == "not recorded"}
    assert unrecorded == ({*FEW} - names if name in {"bare", "cheap"} else BY_NAME_ONLY)


def test_all_diagnostics_but_those_by_name_are_in_the_preset_full() -> None:
    assert set(compose_run(["diagnostics=full"]).diagnostics.names) == set(DIAGNOSTICS) - BY_NAME_ONLY


@pytest.mark.slow
def test_a_diagnostic_alone_is_one_object_and_one_figure(folders: Callable[[str], Path], bnlab_says: Say) -> None:
    run = folders("cnn none")
    for diagnostic in [*list(DIAGNOSTICS)[::SHARE_DRAWN], "norm_scale"]:  # undefined without a norm: no figure
        answer = bnlab_says("show", str(run), diagnostic, "--json")
        figures = [] if why_absent(answer, diagnostic) else [f"{diagnostic}.png", f"{diagnostic}.svg"]
        assert sorted(path.name for path in (run / "figures").glob("*")) == figures
        shutil.rmtree(run / "figures", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=" against ".join)
def test_all_diagnostics_are_compared_at_once_and_some_alone(
    pair: tuple[str, str], folders: Callable[[str], Path], bnlab_says: Say
) -> None:
    runs = [str(folders(name)) for name in pair]
    is_drawn = pair == DRAWN_TOGETHER
    with figures_in_svg_alone():
        answer = bnlab_says("compare", *runs, "--json", *([] if is_drawn else ["--no-figures"]))
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    with_values = {diagnostic for each in found["runs"] for diagnostic in each["last"]}
    assert bool(found["figures"]) == is_drawn
    assert len({frozenset({*each["last"], *each["absent"]}) for each in found["runs"]}) == 1
    for each in found["runs"]:
        assert not {*each["last"]} & {*each["absent"]}
    everything = bnlab_says("compare", *runs, "--no-figures")
    assert everything.status == 0
    words = everything.out.split()
    assert all((each in words) == (each in with_values) for each in DIAGNOSTICS)
    with_both = {diagnostic for diagnostic in with_values if all(diagnostic in each["last"] for each in found["runs"])}
    for diagnostic in FEW if "cheap" in pair else some_of_those_with(with_both, PAIRS.index(pair)):
        answer = bnlab_says("compare", *runs, "-d", diagnostic, "--no-figures")
        assert answer.status == 0, answer.err
        said = " ".join(answer.out.split())
        for each in found["runs"]:
            if absent := each["absent"].get(diagnostic):
                assert f"{diagnostic}: {absent['why']}, {absent['reason']}." in said


@pytest.mark.slow
def test_a_diagnostic_compared_alone_is_one_object_and_one_figure(
    folders: Callable[[str], Path], bnlab_says: Say, tmp_path: Path
) -> None:
    runs = [str(folders(name)) for name in ("mlp batch", "mlp none")]
    for diagnostic in list(DIAGNOSTICS)[1::SHARE_DRAWN]:
        answer = bnlab_says("compare", *runs, "-d", diagnostic, "--json", "--out", "drawn")
        assert answer.status == 0, answer.err
        found = json.loads(answer.out)["runs"]
        for each in found:
            assert {*each["last"], *each["absent"]} == {diagnostic}
        figures = {f"{diagnostic}.svg", f"{diagnostic}.png"} if any(each["last"] for each in found) else set()
        assert {path.name for path in (tmp_path / "drawn").glob("*")} == figures
        shutil.rmtree(tmp_path / "drawn", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "diagnostic"), [("cheap", "sharpness"), ("bare", "gradient_snr")])
def test_the_command_that_records_a_diagnostic_does_so(
    name: str, diagnostic: str, folders: Callable[[str], Path], bnlab_says: Say
) -> None:
    before = json.loads((folders(name) / "manifest.json").read_text())
    answer = json.loads(bnlab_says("show", before["run_id"], diagnostic, "--json").out)
    command = answer["absent"][diagnostic]["command"]
    assert command in bnlab_says("show", before["run_id"], diagnostic).out
    assert bnlab_says(*shlex.split(command)[1:]).status == 0
    (after,) = [
        json.loads(path.read_text())
        for path in Path("runs/single").glob("*/manifest.json")
        if json.loads(path.read_text())["run_id"] != before["run_id"]
    ]
    assert {**after["config"], "diagnostics": 0} == {**before["config"], "diagnostics": 0}
    assert diagnostic in after["config"]["diagnostics"]["names"]
    assert why_absent(bnlab_says("show", after["run_id"], diagnostic, "--json"), diagnostic) != "not recorded"
