"""Names, options and own classes: the values of `norm=...`."""

import inspect
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from folded import folded
from torch import nn

import bnlab.norms
from bnlab.errors import ConfigError
from bnlab.norms.catalog import NoNorm, build_norm, find_norm_class
from bnlab.norms.names import NORMS

CONF = Path(__file__).resolve().parents[2] / "conf"

OWN = """
from torch import nn


class Scale(nn.Module):
    subtracts_mean = True

    def __init__(self, num_channels, *, factor=1, label=None):
        super().__init__()
        self.num_channels, self.factor, self.label = num_channels, factor, label

    def forward(self, x):
        return x * self.factor


class Greedy(nn.Identity):
    def __init__(self, num_channels, **options):
        super().__init__()
        self.options = options


class Needy(nn.Identity):
    def __init__(self, num_channels, *, size):
        super().__init__()


def function(num_channels):
    return nn.Identity()


class NotAModule:
    pass
"""


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def options_of(name):
    options = yaml.safe_load((CONF / "norm" / f"{name}.yaml").read_text())
    assert options.pop("name") == name
    model = yaml.safe_load((CONF / "model" / "mlp.yaml").read_text())
    return {
        key: model["activation"] if value == "${oc.select:model.activation,relu}" else value
        for key, value in options.items()
    }


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write a user's module into the current directory, and remove it from this process at the end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_norms_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield name
    sys.modules.pop(name, None)


@folded("name", NORMS)
def test_every_name_builds_a_layer_that_runs_and_says_what_it_does(name):
    norm = build_norm(name, 8)
    x = torch.randn(4, 8, 3, 3)
    assert norm(x).shape == x.shape
    assert norm.training
    assert isinstance(norm.keeps_running_statistics, bool)
    assert isinstance(norm.subtracts_mean, bool)


def test_promises_of_the_catalog_are_true():
    """Shift the input's mean and see which outputs change; train a step and see which buffers change."""
    x = torch.randn(4, 8, 3, 3)
    for name in NORMS:
        norm = build_norm(name, 8)
        before = [buffer.clone() for buffer in norm.buffers()]
        torch.manual_seed(1)
        of_moved = norm(x + 5)
        torch.manual_seed(1)  # a norm that adds noise adds the same to both
        ignores_offset = torch.allclose(of_moved, norm(x), atol=1e-3)
        assert ignores_offset == norm.subtracts_mean, name
        moved = any(not torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))
        assert moved == norm.keeps_running_statistics, name


def test_no_norm_changes_nothing():
    x = torch.randn(3, 4)
    assert build_norm("none", 4)(x) is x
    assert list(NoNorm(4).parameters()) == []


@folded("name", NORMS)
def test_defaults_of_the_constructor_are_those_of_conf(name):
    parameters = inspect.signature(find_norm_class(name)).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert options_of(name) == defaults


def test_every_norm_has_its_yaml_and_every_yaml_its_norm():
    """`own` stands for whatever class somebody names."""
    assert {path.stem for path in (CONF / "norm").glob("*.yaml")} == {*NORMS, "own"}


def test_default_number_of_groups_divides_every_default_width():
    num_groups = options_of("group")["num_groups"]
    mlp, cnn = (yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text()) for name in ("mlp", "cnn"))
    widths = [mlp["width"], *(cnn["width"] * 2**stage for stage in range(cnn["num_stages"]))]
    assert {width: width % num_groups for width in widths} == dict.fromkeys(widths, 0)
    assert num_groups > 1


def test_options_reach_the_layer():
    norm = build_norm("batch", 3, momentum=0.5, eps=1e-3, affine=False)
    assert (norm.momentum, norm.eps, norm.weight) == (0.5, 1e-3, None)
    assert build_norm("group", 6, num_groups=3).num_groups == 3
    assert bnlab.norms.build_norm is build_norm


@pytest.mark.parametrize(
    ("name", "cure"),
    [("bacth", "Did you mean batch"), ("layers", "Did you mean layer"), ("xyz", "Known: batch, .*, group")],
)
def test_unknown_name_gets_a_cure(name, cure):
    with pytest.raises(ConfigError, match=rf"norm={name} is not known\. {cure}"):
        build_norm(name, 4)


@pytest.mark.parametrize(
    ("name", "option", "cure"),
    [
        ("batch", "momentom", r"Did you mean momentum\?"),
        ("group", "num_group", r"Did you mean num_groups\?"),
        ("layer", "xyz", r"Known: affine, eps\."),
        ("none", "eps", r"It has no options\."),
    ],
)
def test_unknown_option_gets_a_cure(name, option, cure):
    with pytest.raises(ConfigError, match=rf"norm={name} has no option '{option}'\. {cure}"):
        build_norm(name, 4, **{option: 1})


def test_own_class_is_found_in_the_current_directory_and_gets_its_options_unconverted(own_module):
    norm = build_norm(f"{own_module}:Scale", 5, factor=3, label="3")
    assert (norm.num_channels, norm.factor, norm.label) == (5, 3, "3")
    assert torch.equal(norm(torch.ones(2, 5)), 3 * torch.ones(2, 5))


def test_own_class_that_declares_no_promise_makes_none(own_module):
    norm = build_norm(f"{own_module}:Scale", 5)
    assert norm.subtracts_mean is True
    assert norm.keeps_running_statistics is False
    torch_layer = build_norm("torch.nn:BatchNorm1d", 5, eps=1e-3)
    assert isinstance(torch_layer, nn.BatchNorm1d)
    assert torch_layer.subtracts_mean is False


def test_own_class_with_a_misspelled_option_gets_a_cure(own_module):
    with pytest.raises(ConfigError, match=r"has no option 'factr'\. Did you mean factor\?"):
        build_norm(f"{own_module}:Scale", 5, factr=3)


def test_own_class_that_takes_any_option_gets_any(own_module):
    assert build_norm(f"{own_module}:Greedy", 5, whatever=1).options == {"whatever": 1}


def test_own_class_that_lacks_an_argument_is_refused_with_its_name(own_module):
    with pytest.raises(ConfigError, match=r"Class\(num_channels, \*\*options\): missing a required .*size"):
        build_norm(f"{own_module}:Needy", 5)


@pytest.mark.parametrize("what", ["function", "NotAModule", "OWN_NUMBER"])
def test_what_is_not_a_module_class_is_refused(own_module, what, tmp_path):
    with (tmp_path / f"{own_module}.py").open("a") as file:
        file.write("\nOWN_NUMBER = 3\n")
    with pytest.raises(ConfigError, match=r"must be a subclass of torch\.nn\.Module"):
        build_norm(f"{own_module}:{what}", 5)


@pytest.mark.parametrize("place", ["no_such_package_at_all:Norm", "torch.nn:NoSuchNorm"])
def test_class_that_cannot_be_imported_is_refused_with_the_reason(place):
    with pytest.raises(ConfigError, match=r"cannot be imported: .*It is read as package\.module:Class"):
        build_norm(place, 5)


@pytest.mark.parametrize("place", [":Norm", ".near:Norm", "torch.nn.BatchNorm1d"])
def test_place_without_a_module_or_a_class_is_not_known(place):
    with pytest.raises(ConfigError, match="is not known"):
        build_norm(place, 5)


def test_a_constructor_that_raises_is_named(monkeypatch):
    class Refuses(nn.Module):
        def __init__(self, num_channels, **options):
            raise ValueError(f"no {', '.join(options)} for {num_channels}")

    monkeypatch.setitem(sys.modules, "refusing", types.SimpleNamespace(Refuses=Refuses))
    with pytest.raises(
        ConfigError, match=r"norm=refusing:Refuses cannot be built for 3 channels: ValueError: no size for 3"
    ):
        build_norm("refusing:Refuses", 3, size=1)


@pytest.mark.parametrize("name", NORMS)
def test_running_statistics_stay_finite_in_half_precision(name: str) -> None:
    """At a variance of 4e6, which float16 cannot hold, of a whole network turned to float16."""
    norm = torch.nn.Sequential(build_norm(name, 8)).half()
    x = (2000 * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))).half()
    for _ in range(30):
        assert norm(x).dtype == torch.float16
    assert all(bool(torch.isfinite(buffer).all()) for buffer in norm.buffers())
    in_float64 = build_norm(name, 8).double()
    for _ in range(30):
        in_float64(x.double())
    torch.testing.assert_close(norm.eval()(x), in_float64.eval()(x.double()).half(), rtol=3e-3, atol=3e-3)
