"""Norms of installed packages: a package is a folder with metadata on sys.path, as pip leaves it there."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch

import bnlab
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.checking import check
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.plugins import NORM_PLUGINS, load_class
from bnlab.sweeps.grid import expand

QUICK = ["data=synthetic", "train.steps=30", "model.width=16"]

LAYERS = '''
import torch


class Halved(torch.nn.Module):
    """Divide by a constant."""

    def __init__(self, num_channels, *, share=0.5):
        super().__init__()
        self.share = share

    def forward(self, x):
        return x * self.share


NOT_A_CLASS = 3
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Lay a package into a folder on sys.path; return the name of its module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    module = f"plugged_{tmp_path.name.replace('-', '_')}"
    (site / f"{module}.py").write_text(LAYERS)

    def put(distribution: str = "halving", **points: str) -> str:
        info = site / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {place.replace('MODULE', module)}" for name, place in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[bnlab.norms]", *lines]) + "\n")
        return module

    yield put
    sys.modules.pop(module, None)


@pytest.fixture
def say(bnlab_says: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: astuple(bnlab_says(*words))


def test_a_name_that_a_package_adds_trains_with_its_options(install: Callable[..., str]) -> None:
    install(halved="MODULE:Halved")
    summary = bnlab.train([*QUICK, "norm=halved", "norm.share=0.25"])
    assert summary.status == "finished"
    assert summary.run_id.startswith("halved-mlp-")
    assert bnlab.load_model(summary.folder).hidden1.norm.share == 0.25
    assert torch.equal(build_norm("halved", 3)(torch.ones(2, 3)), torch.full((2, 3), 0.5))


@pytest.mark.slow
def test_the_class_by_its_place_gives_the_same_numbers(install: Callable[..., str]) -> None:
    module = install(halved="MODULE:Halved")
    losses = [bnlab.train([*QUICK, f"norm={norm}"]).test_loss for norm in ("halved", f"{module}:Halved")]
    assert losses[0] == losses[1]


def test_a_wrong_option_gets_a_cure(install: Callable[..., str]) -> None:
    install(halved="MODULE:Halved")
    with pytest.raises(ConfigError, match=r"norm=halved has no option 'shrae'\. Did you mean share\?"):
        check(compose_run([*QUICK, "norm=halved", "norm.shrae=1"]))


@pytest.mark.slow
def test_sweeps_take_the_name_and_glob_knows_it(install: Callable[..., str]) -> None:
    install(halved="MODULE:Halved")
    grid = expand([*QUICK, "norm=halved,none", "norm.share=0.1,0.2"])
    assert [(c.norm.name, c.norm.options) for c in grid.configs] == [
        *[("halved", {"share": 0.1}), ("halved", {"share": 0.2}), ("none", {})]
    ]
    assert [c.norm.name for c in expand(["norm=glob(ha*)"]).configs] == ["halved"]
    some = [c.norm.name for c in expand(["norm=glob([ha*,i*,o*])"]).configs]
    assert some == ["halved", *sorted(name for name in NORMS if name.startswith("i"))]  # not own


def test_a_typo_is_answered_with_the_packages_name_too(install: Callable[..., str]) -> None:
    install(halved="MODULE:Halved")
    with pytest.raises(ConfigError, match=r"norm=havled is not known\. Did you mean halved\?"):
        compose_run(["norm=havled"])
    with pytest.raises(ConfigError, match=r"norm=havled is not known\. Did you mean halved\?"):
        build_norm("havled", 3)
    with pytest.raises(ConfigError, match=r"^optim\.lrr is not a setting"):
        compose_run(["norm=halved", "norm.share=0.5", "optim.lrr=1"])


def test_list_shows_the_name_and_imports_nothing_for_it(
    install: Callable[..., str], say: Callable[..., object]
) -> None:
    module = install(halved="MODULE:Halved")
    status, out, err = say("list", "norms", "--json")
    assert (status, err) == (0, "")
    row = next(row for row in json.loads(out) if row["name"] == "halved")
    assert row == {"name": "halved", "description": f"{module}:Halved of halving 1.2.", "options": {}}
    assert module not in sys.modules
    assert "halved" in say("list", "norms")[1]
    assert "halved" in say("list", "norms", "--csv")[1]


def test_completion_offers_the_name(install: Callable[..., str]) -> None:
    install(halved="MODULE:Halved", batch="MODULE:Halved")
    import typer  # noqa: PLC0415

    from bnlab.cli.app import app  # noqa: PLC0415
    from bnlab.cli.complete import complete_override  # noqa: PLC0415

    context = typer.Context(typer.main.get_command(app))
    assert complete_override(context, "norm=hal") == ["norm=halved"]
    assert complete_override(context, "norm=batch_t") == ["norm=batch_torch"]
    assert "norm=own" not in complete_override(context, "norm=")


def test_a_name_of_bnlabs_own_stays_bnlabs_and_a_warning_says_so(
    install: Callable[..., str], say: Callable[..., object]
) -> None:
    module = install(batch="MODULE:Halved")
    (warning,) = check(compose_run([*QUICK, "norm=batch"])).warnings
    assert warning == (
        "norm=batch is bnlab's own; that of halving 1.2 by the same name is not used. "
        f"Reach it by norm={module}:Halved."
    )
    assert type(build_norm("batch", 3)).__module__ == "bnlab.norms.batch"
    status, out, err = say("list", "norms", "--json")
    assert status == 0
    assert [row["name"] for row in json.loads(out)].count("batch") == 1
    assert "norm=batch of halving 1.2 cannot be used: the name is taken." in err
    assert check(compose_run([*QUICK, "norm=batch", "accept=[hidden_name]"])).warnings == []


@pytest.mark.slow_but(1)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("MODULE", "norm=broken of halving 1.2 cannot be used: its entry point must be package.module:Class"),
        ("MODULE:Halved [extra]", "its entry point must be package.module:Class"),
        ("MODULE:Gone", "has no Gone. Mend or uninstall halving 1.2."),
        (
            "no_such_module_anywhere:Halved",
            "there is no module no_such_module_anywhere. Mend or uninstall halving 1.2.",
        ),
        ("MODULE:NOT_A_CLASS", "must be a subclass of torch.nn.Module, got 3. Mend or uninstall halving 1.2."),
    ],
)
def test_a_broken_entry_point_is_one_sentence_that_names_the_package(
    install: Callable[..., str], say: Callable[..., tuple[int, str, str]], tmp_path: Path, place: str, message: str
) -> None:
    install(broken=place)
    status, out, err = say("train", *QUICK, "norm=broken")
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    assert say("train", "-q", *QUICK, "norm=batch")[0] == 0, "others are not hurt"
    assert say("list", "norms")[0] == 0


def test_a_module_that_raises_while_it_is_imported_is_one_sentence(
    install: Callable[..., str], say: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "site" / "exploding_norms.py").write_text("raise RuntimeError('no luck')")
    install(exploding="exploding_norms:Norm")
    status, _, err = say("train", *QUICK, "norm=exploding")
    assert (status, err) == (
        2,
        "error: norm=exploding cannot be imported: RuntimeError: no luck. Mend or uninstall halving 1.2.\n",
    )


def test_two_packages_with_one_name_are_told_apart_by_the_place(install: Callable[..., str]) -> None:
    module = install("halving", halved="MODULE:Halved")
    install("quartering", halved="MODULE:Quartered")
    with pytest.raises(ConfigError, match=r"norm=halved is ambiguous: .* of halving 1\.2 and .* of quartering 1\.2"):
        compose_run(["norm=halved"])
    assert compose_run([f"norm={module}:Halved"]).norm.name == f"{module}:Halved"


@pytest.mark.slow
def test_a_yaml_file_of_that_name_gives_the_options_their_defaults(
    install: Callable[..., str], tmp_path: Path, say: Callable[..., tuple[int, str, str]]
) -> None:
    install(halved="MODULE:Halved")
    (tmp_path / "mine" / "norm").mkdir(parents=True)
    (tmp_path / "mine" / "norm" / "halved.yaml").write_text("# Half of it.\nname: halved\nshare: 0.125\n")
    assert compose_run(["norm=halved"], tmp_path / "mine").norm.options == {"share": 0.125}
    status, out, err = say("list", "norms", "--config-dir", str(tmp_path / "mine"), "--json")
    assert (status, err) == (0, "")
    (row,) = [row for row in json.loads(out) if row["name"] == "halved"]
    assert row["options"] == {"share": 0.125}
    assert bnlab.train([*QUICK, "norm=halved"], config_dir=tmp_path / "mine").status == "finished"


@pytest.mark.slow
def test_listing_norms_of_packages_does_not_wait_for_torch(install: Callable[..., str], tmp_path: Path) -> None:
    install(halved="MODULE:Halved")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = ['bnlab', 'list', 'norms']\n"
        "from bnlab.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "halved" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_name_that_the_command_line_reads_as_a_value_is_not_offered(install: Callable[..., str]) -> None:
    module = install(true="MODULE:Halved", halved="MODULE:Halved")
    assert NORM_PLUGINS.usable_names([]) == ["halved"]
    assert NORM_PLUGINS.complaints([]) == [
        "norm=true of halving 1.2 cannot be used: the command line reads true as a value, not as a name. "
        f"Reach it by norm={module}:Halved."
    ]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("near_layer:Mine", "there is no module near_layer. Did you mean near_layers? It is read as"),
        ("near_layers.py:Mine", "Leave .py out: near_layers:Mine. It is read as"),
        ("near_layers:Mien", "near_layers has no Mien. Did you mean Mine? It is read as"),
        ("unlike_any:Mine", "there is no module unlike_any. It is read as"),
    ],
)
def test_a_name_of_ones_own_that_is_misspelled_is_answered_by_one_that_is_there(
    place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "near_layers.py").write_text("from torch import nn\n\n\nclass Mine(nn.Module):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_class(place, torch.nn.Module, f"norm={place}")
    sys.modules.pop("near_layers", None)
