"""`model=package.module:Class` and `model=torchvision:NAME`: networks that are not bnlab's."""

import pytest
import torch
from own_networks import Residual

import bnlab
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.checking import check
from bnlab.identity.run_id import run_id
from bnlab.models.catalog import build_network, seed_weights
from bnlab.sweeps.grid import expand

HERE = "own_networks"
QUICK = ["data=synthetic", "train.steps=6", "train.batch_size=20"]


def config_of(name, *words):
    place = name if ":" in name else f"{HERE}:{name}"
    return compose_run([*QUICK, f"model={place}", *words])


def network(name, *words, seed=0):
    config = config_of(name, *words)
    model = build_network(config, (1, 8, 8), 10)
    seed_weights(model, config.model, seed)
    return model


def test_layers_have_the_names_that_the_network_gives_them_in_the_order_of_its_pass():
    model = network("Residual")
    assert list(model.linears) == ["conv1", "conv2", "output"]
    assert list(model.norms) == ["bn1", "bn2"]
    assert list(model.activations) == ["relu.1", "relu.2"]
    assert model.output is model.net.fc
    assert model.activation_name == "relu"
    assert model.remarks == ()


def test_an_activation_at_two_places_is_told_apart():
    model, x = network("Residual"), torch.randn(4, 1, 8, 8)
    seen = {}
    for role, module in model.activations.items():
        module.register_forward_hook(lambda _, args, y, role=role: seen.setdefault(role, []).append((args[0], y)))
    for _ in range(2):
        model(x)
    assert {role: len(calls) for role, calls in seen.items()} == {"relu.1": 2, "relu.2": 2}
    assert not torch.equal(seen["relu.1"][0][1], seen["relu.2"][0][1])
    for given, y in (seen["relu.1"][0], seen["relu.2"][0]):
        torch.testing.assert_close(y, given.clamp(min=0))  # and not in place
        assert (given < 0).any()


def test_outputs_are_those_of_the_network_itself():
    model, x = network("Residual", "norm=batch_torch"), torch.randn(4, 1, 8, 8)
    plain = Residual((1, 8, 8), 10)
    names = {name.replace("relu.1", "relu"): value for name, value in model.net.state_dict().items()}
    plain.load_state_dict(names)
    for training in (True, False):
        torch.testing.assert_close(model.train(training)(x), plain.train(training)(x), rtol=1e-5, atol=1e-6)


def test_warnings_name_layers_as_the_network_does():
    (told,) = [line for line in check(config_of("Shapes", "norm=batch")).warnings if "a bias right before" in line]
    assert told.startswith("model=own_networks:Shapes: biased: a bias right before a norm")


def test_probabilities_in_the_place_of_logits_are_told_of():
    told = [line for line in check(config_of("Probabilities")).warnings if "returns probabilities" in line]
    assert len(told) == 1
    assert not any("probabilities" in line for line in check(config_of("Plain")).warnings)


@pytest.mark.slow
def test_a_network_that_cannot_be_stacked_says_why_in_one_sentence(bnlab_says, tmp_path):
    words = [*QUICK, "model=own_networks:Branching", "seed=0,1", "sweep.engine=vectorized"]
    assert bnlab_says("sweep", *words).status == 1
    law = "cannot be trained together with others (its code asks for the value of a tensor). Use sweep.engine=auto."
    assert all(law in log.read_text() for log in tmp_path.glob("runs/*/*/log.txt"))
    assert len(list(tmp_path.glob("runs/*/*/log.txt"))) == 2


def test_a_dot_in_the_place_of_the_colon_is_told_of():
    for word in ("model=own_networks.Plain", "norm=my_layers.Mine", "data=my_data.load"):
        with pytest.raises(ConfigError, match=r"write a colon before the last name: (.*)$") as told:
            compose_run([word])
        assert str(told.value).endswith(":".join(word.rsplit(".", 1)))


@pytest.mark.parametrize("name", ["OwnTokens", "Tokens"])
def test_eval_mode_calls_the_norms_that_torchs_encoder_layer_has_been_given(name):
    model, x = network(name, "norm=rms"), 3 + torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), model.train()(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Rows", "Residual", "Tokens", "built"])
def test_one_seed_gives_the_same_weights_in_every_arm_and_another_seed_others(name):
    reference, other = network(name, "norm=batch"), network(name, "norm=batch", seed=1)
    for norm in ("layer", "none", "batch_noisy", "scaled_weight_standardization"):
        for role, weight in network(name, f"norm={norm}").weights.items():
            assert torch.equal(weight, reference.weights[role]), (norm, role)
    assert not any(torch.equal(weight, other.weights[role]) for role, weight in reference.weights.items())


def test_building_and_seeding_leave_the_callers_random_state_alone():
    before = torch.get_rng_state()
    network("Rows")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_each_norm_stands_where_the_networks_own_stood():
    for norm in ("layer", "none", "dyt"):
        kinds = {type(module).__name__ for module in network("Residual", f"norm={norm}").norms.values()}
        assert kinds == {{"layer": "LayerNorm", "none": "NoNorm", "dyt": "DynamicTanh"}[norm]}
    assert list(network("Tokens").norms) == ["layer.norm1", "layer.norm2"]
    assert list(network("Rows").norms) == ["norm"]


def test_a_norm_of_the_input_replaces_all_others():
    model = network("Residual", "placement=input")
    assert type(model.norms["input"]).__name__ == "BatchNorm"
    assert {type(module).__name__ for role, module in model.norms.items() if role != "input"} == {"NoNorm"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Residual", "model.widht=3"], r"has no option 'widht'\. Did you mean width\?"),
        (["Residual", "model.num_classes=3"], r"model\.num_classes is given by bnlab"),
        (["Residual", "placement=after"], r"placement=after has no meaning for"),
        (["Gone"], r"has no Gone\. It is read as package\.module:Class"),
        (["nowhere:Net"], r"there is no module nowhere"),
        (["no_network"], r"must give a torch\.nn\.Module, got Tensor"),
        (["Five"], r"must return a tensor of logits, \(N, 10\) for this data, got \(2, 5\)"),
        (["Residual", "norm=group", "norm.num_groups=3"], r"num_groups must divide num_channels: 8 channels, 3"),
        (["Rows", "data=synthetic", "model.width=-1"], r"cannot be built"),
        (["timm:resnet18"], r"needs the package timm"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(words, said):
    if words[0].startswith("timm"):
        try:
            import timm  # noqa: F401, PLC0415

            pytest.skip("timm is installed")
        except ImportError:
            pass
    with pytest.raises(ConfigError, match=said) as caught:
        network(*words)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_what_cannot_be_compared_or_measured_is_said():
    (no_norm,) = check(config_of("Plain")).warnings
    assert "has no norm that could be replaced: all arms are the same network" in no_norm
    (functions,) = check(config_of("Tokens", "norm=layer")).warnings
    assert "calls its activations as functions, or has none" in functions


def test_the_code_of_the_class_is_a_part_of_the_runs_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "from torch import nn\n\ndef build(num_classes):\n    return nn.Sequential(nn.Linear(64, num_classes))\n"
    ids = []
    for text in (code, f"# a comment\n{code}", code.replace("nn.Linear", "nn.LazyLinear")):
        (tmp_path / "netcode.py").write_text(text)
        ids.append(run_id(config_of("netcode:build")))
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("batch-build-synthetic-")
    assert run_id(config_of("Rows")) != run_id(config_of("Rows", "model.width=4"))


@pytest.mark.slow
def test_a_run_is_trained_found_again_and_loaded():
    words = [*QUICK, f"model={HERE}:Residual", "norm=layer", "diagnostics=none"]
    summary = bnlab.train(words)
    assert (summary.status, summary.cached) == ("finished", False)
    assert bnlab.train(words).cached
    x, model = torch.randn(3, 1, 8, 8), bnlab.load_model(summary.folder)
    assert type(model.net.bn1).__name__ == "LayerNorm"
    assert torch.equal(model(x), bnlab.load_model(summary.folder)(x))


@pytest.mark.slow
@pytest.mark.parametrize("optim", ["muon", "adamw"])
def test_muon_and_weight_decay_find_their_parameters(optim):
    words = [*QUICK, f"model={HERE}:Rows", f"optim={optim}", "optim.weight_decay=0.1", "diagnostics=none"]
    assert bnlab.train([*words, "optim.decay_norm_and_bias=false"]).status == "finished"


@pytest.mark.slow
def test_only_the_last_layer_can_be_trained():
    summary = bnlab.train([*QUICK, f"model={HERE}:Residual", "train.parameters=output", "diagnostics=none"])
    first, last = network("Residual"), bnlab.load_model(summary.folder)
    assert torch.equal(first.net.conv2.weight, last.net.conv2.weight)
    assert not torch.equal(first.net.fc.weight, last.net.fc.weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Residual", "Rows", "Tokens"])
def test_every_diagnostic_measures_it_or_says_nothing_and_changes_nothing(name):
    words = [*QUICK, f"model={HERE}:{name}", "train.log_every=1"]
    losses = [bnlab.train([*words, f"diagnostics={kind}"]).test_loss for kind in ("none", "full")]
    assert losses[0] == losses[1]


def test_runs_that_cannot_be_trained_together_say_so():
    from bnlab.training.stacked.runs import StackedRuns  # noqa: PLC0415

    configs = [config_of("Drawing", f"seed={seed}", "diagnostics=none") for seed in (0, 1)]
    checked = check(configs[0])
    with pytest.raises(ConfigError, match=r"together with others \(vmap.*\)\. Use sweep\.engine=auto"):
        StackedRuns(configs, checked.data, checked.device, 6)


def test_a_sweep_takes_bnlabs_networks_and_others_side_by_side():
    grid = expand([*QUICK, f"model=mlp,{HERE}:Rows", "norm=batch,layer"])
    assert [(c.model.name.rpartition(":")[2], c.norm.name) for c in grid.configs] == [
        *[("mlp", "batch"), ("mlp", "layer"), ("Rows", "batch"), ("Rows", "layer")]
    ]


@pytest.mark.slow
def test_a_network_of_torchvision_computes_what_torchvisions_does():
    torchvision = pytest.importorskip("torchvision")
    config = compose_run(["data=synthetic", "model=torchvision:resnet18", "norm=batch_torch"])
    model = build_network(config, (1, 8, 8), 10)
    seed_weights(model, config.model, 0)
    plain = torchvision.models.resnet18(num_classes=10)
    plain.load_state_dict(model.net.state_dict())
    x = torch.randn(4, 1, 8, 8)
    for training in (True, False):
        expected = plain.train(training)(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(model.train(training)(x), expected, rtol=1e-4, atol=1e-5)
    assert len(model.norms) == 20
    assert len(model.activations) == 17
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_181_642


def test_a_name_that_an_installed_package_adds_builds_its_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "netpackage.py").write_text(
        "from torch import nn\n\n\ndef wide(num_classes, width=8):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes))\n"
    )
    info = tmp_path / "netpackage-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: netpackage\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[bnlab.models]\nwidenet = netpackage:wide\n")
    config = compose_run([*QUICK, "model=widenet", "model.width=12"])
    assert build_network(config, (1, 8, 8), 10).net[1].out_features == 12
    assert run_id(config).startswith("batch-widenet-")
    with pytest.raises(ConfigError, match=r"model=widnet is not known\. Did you mean widenet\?"):
        compose_run(["model=widnet"])


@pytest.mark.parametrize(
    ("norm", "free"),
    [
        ("batch", {"alone": "rows", "biased": "rows"}),
        ("rms", {"alone": "whole"}),
        ("none", {}),
    ],
)
def test_a_scale_is_free_where_a_norm_and_nothing_else_uses_the_output(norm, free):
    model = network("Shapes", f"norm={norm}").double()
    assert model.scale_invariant_weights == free
    x = torch.randn(8, 1, 8, 8, dtype=torch.float64)
    for role in free:
        expected = model.train()(x)
        with torch.no_grad():
            model.get_submodule(f"net.{role}").weight.mul_(3.0)
        torch.testing.assert_close(model.train()(x), expected, rtol=1e-3, atol=1e-4)  # but for eps


def test_the_weights_of_the_residual_network_have_free_scales_too():
    assert network("Residual").scale_invariant_weights == {"conv1": "rows", "conv2": "rows"}


def test_state_that_is_lost_is_told_before_training():
    with pytest.raises(ConfigError, match=r"model=own_networks:Forgetful keeps state outside of buffers \(average\)"):
        check(config_of("Forgetful"))


def test_one_activation_that_stands_at_two_places_is_told_apart():
    model, x = network("one_activation"), torch.randn(4, 1, 8, 8)
    assert list(model.activations) == ["3.1", "3.2"]
    calls = []
    for role, module in model.activations.items():
        module.register_forward_hook(lambda *_, role=role: calls.append(role))
    for _ in range(2):
        model(x)
    assert calls == ["3.1", "3.2"] * 2


def test_a_learned_activation_at_two_places_stays_one_and_a_sentence_says_so():
    model = network("one_activation", "model.learned=true", seed=3)
    assert list(model.activations) == ["3"]
    assert sum(isinstance(module, torch.nn.PReLU) for module in model.modules()) == 1
    (remark,) = model.remarks
    assert "calls 3 several times in one pass: diagnostics take all calls together there, as further" in remark


@pytest.mark.slow
def test_a_layer_at_two_sizes_of_an_image_is_measured_at_its_first_call():
    words = [*QUICK, f"model={HERE}:TwoSizes", "diagnostics=full", "train.eval_every=3"]
    assert bnlab.train(words).status == "finished"


def test_a_network_that_is_built_when_its_module_is_imported_is_refused():
    with pytest.raises(ConfigError, match=r"built_already is a network that is built already, .* Name its class, or"):
        network("built_already")
