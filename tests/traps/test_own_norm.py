"""State of a layer of one's own that a state dict does not hold: found before training, and nothing else is."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnlab
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.checking import check
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.seeding import seeded_alike
from bnlab.traps.unsaved_state import find_unsaved_state

QUICK = ["data=synthetic", "train.steps=12", "model.width=8", "model.depth=2", "loggers=[]", "diagnostics=none"]

LAYERS = """
import random
from collections import deque

import numpy as np
import torch
from torch import nn


def per_channel(value, x):
    return value.view(1, -1, *[1] * (x.dim() - 2))


class Attributes(nn.Module):
    '''As in a famous textbook: the running statistics are plain attributes.'''

    def __init__(self, num_channels):
        super().__init__()
        self.num_calls = 0
        self.keep("mean", torch.zeros(num_channels))
        self.keep("var", torch.ones(num_channels))

    def keep(self, name, value):
        setattr(self, name, value)

    def forward(self, x):
        self.num_calls += 1
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, var = self.mean, self.var
        if self.training:
            mean, var = x.mean(axes), x.var(axes, correction=0)
            with torch.no_grad():
                self.mean = 0.9 * self.mean + 0.1 * mean
                self.var = 0.9 * self.var + 0.1 * var
        return (x - per_channel(mean, x)) / per_channel(var + 1e-5, x).sqrt()


class Buffers(Attributes):
    '''The cure, as the message proposes it. The count of calls stays an attribute: no output depends on it.'''

    def keep(self, name, value):
        self.register_buffer(name, value)


class NotSaved(Attributes):
    def keep(self, name, value):
        self.register_buffer(name, value, persistent=False)


class InExtraState(Attributes):
    '''Plain attributes that the layer itself saves and loads.'''

    def get_extra_state(self):
        return {"mean": self.mean, "var": self.var}

    def set_extra_state(self, state):
        self.mean, self.var = state["mean"], state["var"]


class Flag(nn.Module):
    '''Glow's ActNorm at its shortest: scale and shift come from the first batch, and a flag says that it has come.'''

    def __init__(self, num_channels):
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(num_channels)), nn.Parameter(torch.zeros(num_channels))
        self.keep_flag()

    def keep_flag(self):
        self.ready = False

    def set_flag(self):
        self.ready = True

    def forward(self, x):
        if not self.ready:
            with torch.no_grad():
                axes = [axis for axis in range(x.dim()) if axis != 1]
                self.shift.copy_(-x.mean(axes))
                self.log_scale.copy_(-(x.std(axes) + 1e-6).log())
                self.set_flag()
        return (x + per_channel(self.shift, x)) * per_channel(self.log_scale.exp(), x)


class FlagInBuffer(Flag):
    def keep_flag(self):
        self.register_buffer("ready", torch.tensor(False))

    def set_flag(self):
        self.ready.fill_(True)


class FlagInTraining(Flag):
    '''The same, but only training mode sets it: a loaded layer is right until it is trained on.'''

    def forward(self, x):
        ready, self.ready = self.ready, self.ready or not self.training
        y = super().forward(x)
        self.ready = self.ready if self.training else ready
        return y


class InList(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.means = deque(maxlen=10)

    def forward(self, x):
        if self.training:
            self.means.append(x.detach().mean(0))
        return x - torch.stack(list(self.means)).mean(0) if self.means else x


class OfTheClass(nn.Module):
    '''Keeps its mean where all layers of the class share it.'''

    means = {}

    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        if self.training:
            self.means["mean"] = 0.5 * self.means.get("mean", 0) + 0.5 * x.detach().mean()
        return x - self.means.get("mean", 0)


class RandomConstant(nn.Module):
    '''Draws a tensor when it is built.'''

    def __init__(self, num_channels):
        super().__init__()
        self.factors = torch.rand(num_channels)

    def forward(self, x):
        return x * per_channel(self.factors, x)


class OwnGenerator(nn.Module):
    '''Draws from a generator of its own, which no checkpoint holds.'''

    def __init__(self, num_channels):
        super().__init__()
        self.source = torch.Generator().manual_seed(3)

    def forward(self, x):
        return x + torch.randn(x.shape, generator=self.source) if self.training else x


class OwnGeneratorOfNumPy(OwnGenerator):
    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.source = np.random.default_rng(3)

    def forward(self, x):
        return x + float(self.source.random()) if self.training else x


class Unregistered(nn.Module):
    '''Keeps a module where torch does not look for modules.'''

    def __init__(self, num_channels):
        super().__init__()
        self.parts = [nn.BatchNorm1d(num_channels)]

    def forward(self, x):
        self.parts[0].train(self.training)
        return self.parts[0](x)


class TakesTheBatchsShape(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.last = x.detach().flatten(1).mean(1)
        return x


class Noisy(nn.Module):
    '''Draws from every source of random numbers, in training mode.'''

    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        if self.training:
            return x + torch.randn_like(x) + random.random() + np.random.rand()
        return x


class Caches(nn.Module):
    '''Keeps what can be computed again.'''

    def __init__(self, num_channels):
        super().__init__()
        self.known, self.seen = {}, []

    def forward(self, x):
        self.seen.append(len(x))
        if x.shape not in self.known:
            self.known[x.shape] = torch.ones(x.shape)
        return x * self.known[x.shape]


class InHalf(nn.BatchNorm1d):
    '''Keeps its running statistics in half precision, and gets inputs of a large variance.'''

    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.running_mean, self.running_var = self.running_mean.half(), self.running_var.half()

    def forward(self, x):
        mean, var = x.mean(0), (3000 * x).var(0)
        if self.training:
            self.running_mean.lerp_(mean.detach().half(), 0.1)
            self.running_var.lerp_(var.detach().half(), 0.1)
        return (x - mean) / (x.var(0) + 1e-5).sqrt()


class Leaks(Buffers):
    '''Its running statistics are not detached; training does not read them.'''

    def forward(self, x):
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, var = self.mean, self.var
        if self.training:
            mean, var = x.mean(axes), x.var(axes, correction=0)
            self.mean, self.var = 0.9 * self.mean + 0.1 * mean, 0.9 * self.var + 0.1 * var
        return (x - per_channel(mean, x)) / per_channel(var + 1e-5, x).sqrt()


class LeaksIntoTraining(nn.Module):
    '''Nor here, where training reads them: the second step meets the graph of the first.'''

    def __init__(self, num_channels):
        super().__init__()
        self.register_buffer("size", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.size = 0.9 * self.size + 0.1 * x.abs().mean()
        return x / self.size


class Checkpointed(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.inner = nn.BatchNorm1d(num_channels)

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"trapped_norms_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(LAYERS)
    yield name
    sys.modules.pop(name, None)


def warnings_of(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("warning:") and "keeps state outside" in line]


UNSAVED = [
    ("Attributes", "(mean, var): load_model, a resumed run and a run with diagnostics would give", "mean"),
    ("NotSaved", "(mean, var)", "mean"),
    ("Flag", "(ready): load_model, a resumed run and a run with diagnostics would give other numbers", "ready"),
    ("FlagInTraining", "(ready): a resumed run and a run with diagnostics would give other numbers", "ready"),
    ("InList", "(means)", "means"),
    ("OfTheClass", "keeps state outside of the layer", "name"),
    ("RandomConstant", "(factors): load_model and a resumed run would give other numbers", "factors"),
    ("OwnGenerator", "(source)", "Draw from torch's global generator, as torch.randn(shape) does, not from source."),
    ("OwnGeneratorOfNumPy", "(source)", "Draw from torch's global generator"),
    ("Unregistered", "(parts)", "parts"),
    (
        "TakesTheBatchsShape",
        "cannot be loaded from its state dict (size mismatch for hidden1.norm.last",
        "its constructor",
    ),
]


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(("layer", "words", "cure"), UNSAVED)
def test_state_outside_of_buffers_is_refused_before_training(
    own: str, tmp_path: Path, layer: str, words: str, cure: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        bnlab.train([*QUICK, f"norm={own}:{layer}"])
    message = str(refusal.value)
    assert message.startswith(f"norm={own}:{layer} ")
    assert words in message
    assert cure in message.partition(". ")[2]
    assert ("register_buffer" in message) != ("Generator" in layer or "its constructor" in cure)
    assert "\n" not in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["train", pytest.param("sweep", marks=pytest.mark.slow)])
def test_the_command_line_refuses_it_with_status_2_and_no_folder(
    bnlab_says: Callable[..., object], own: str, tmp_path: Path, command: str
) -> None:
    arms = f"norm={own}:Attributes" if command == "train" else f"norm=batch,{own}:Attributes"
    answer = bnlab_says(command, *QUICK, arms)
    assert (answer.status, answer.out) == (2, "")
    assert 'self.register_buffer("mean", tensor)' in answer.err
    assert len(answer.err.strip().splitlines()) <= 3
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("layer", ["Buffers", "InExtraState", "FlagInBuffer", "Noisy", "Caches"])
def test_state_that_is_saved_or_changes_no_output_is_trained_without_a_word(
    bnlab_says: Callable[..., object], own: str, layer: str
) -> None:
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:{layer}")
    assert json.loads(answer.out)["status"] == "finished"
    assert warnings_of(answer.err) == []


@pytest.mark.slow
def test_a_buffer_that_keeps_its_graph_is_refused_where_training_would_fail(
    bnlab_says: Callable[..., object], own: str, tmp_path: Path
) -> None:
    answer = bnlab_says("train", *QUICK, f"norm={own}:LeaksIntoTraining")
    assert answer.status == 2
    assert "keeps the graph of a batch in size, so that the second training step fails." in answer.err
    assert "self.size = (...).detach()" in answer.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_buffer_that_keeps_its_graph_is_told(bnlab_says: Callable[..., object], own: str) -> None:
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:Leaks")
    assert json.loads(answer.out)["status"] == "finished"
    assert "keeps the graphs of all batches in mean, var: the memory grows" in answer.err
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:Leaks", "accept=[graph_in_buffers]", "seed=1")
    assert warnings_of(answer.err) == []


@pytest.mark.slow
def test_what_was_refused_is_so_and_the_cure_works(own: str) -> None:
    """Accepted, the layer does in `load_model` what the message says; with buffers it does not."""
    accuracies = {}
    for layer in ("Attributes", "Buffers"):
        run = bnlab.train([*QUICK, "train.steps=60", f"norm={own}:{layer}", "accept=[state_outside_buffers]"])
        model, data = bnlab.load_model(run.folder), _test_images()
        with torch.no_grad():
            found = float((model(data.images).argmax(1) == data.labels).float().mean())
        accuracies[layer] = (run.test_accuracy, pytest.approx(found))
    assert accuracies["Attributes"][0] != accuracies["Attributes"][1]
    assert accuracies["Buffers"][0] == accuracies["Buffers"][1]


def _test_images():
    from bnlab.config.compose import compose_run  # noqa: PLC0415
    from bnlab.data.opening import open_data  # noqa: PLC0415

    return open_data(compose_run(QUICK).data).test


def test_accepted_it_trains_and_says_what_does_not_hold(
    bnlab_says: Callable[..., object], own: str, tmp_path: Path
) -> None:
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:Flag", "accept=[state_outside_buffers]")
    assert json.loads(answer.out)["status"] == "finished"
    (warning,) = warnings_of(answer.err)
    assert warning.endswith(
        "keeps state outside of buffers (ready): load_model, a resumed run and a run with diagnostics may give other "
        "numbers."
    )
    (log,) = tmp_path.glob("runs/single/*/log.txt")
    assert warning.removeprefix("warning: ") in log.read_text()


@pytest.mark.slow
def test_a_buffer_that_overflows_is_found(bnlab_says: Callable[..., object], own: str) -> None:
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:InHalf")
    assert "hidden1.norm.running_var, hidden2.norm.running_var is not finite after two batches" in answer.err
    accepted = bnlab_says("train", "--json", *QUICK, f"norm={own}:InHalf", "accept=[running_overflow]")
    assert "not finite" not in accepted.err


@pytest.mark.slow
def test_a_layer_that_checkpoints_its_norm_is_found(bnlab_says: Callable[..., object], own: str) -> None:
    answer = bnlab_says("train", "--json", *QUICK, f"norm={own}:Checkpointed")
    assert "hidden1.norm.inner, hidden2.norm.inner (BatchNorm1d): one training step updates the running" in answer.err
    accepted = bnlab_says("train", "--json", *QUICK, f"norm={own}:Checkpointed", "accept=[updated_twice]")
    assert "one training step" not in accepted.err


@pytest.mark.parametrize("shape", [(16, 8), (8, 8, 3, 3)])
@pytest.mark.parametrize("name", NORMS)
def test_no_norm_of_the_catalog_keeps_state_outside_of_buffers(name: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)

    def run(norm: nn.Module, x: Tensor, training: bool) -> Tensor:
        with seeded_alike():
            return norm.train(training)(x.clone()).detach()  # type: ignore[no-any-return]

    try:
        found = find_unsaved_state(build_norm(name, 8), build_norm(name, 8), (x, 1.5 * x.flip(0) + 1), run)
    except ConfigError:
        pytest.skip("it needs images")
    assert found is None


def test_looking_for_it_leaves_the_random_numbers_of_the_caller_alone() -> None:
    import random  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    def draw() -> tuple[float, float, float]:
        return float(torch.rand(1)), random.random(), float(np.random.rand())

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = draw()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    with seeded_alike():
        first = draw()
    with seeded_alike():
        assert draw() == first
    assert draw() == expected


def test_a_momentum_of_another_framework_inside_of_an_own_layer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kerased.py").write_text(
        "from torch import nn\nclass Norm(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.inner = nn.BatchNorm1d(c, momentum=0.99)\n    def forward(self, x):\n        "
        "return self.inner(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    warnings = check(compose_run(["norm=kerased:Norm", "data=synthetic"])).warnings
    assert sum("keep 1% of the old running statistics per step" in text for text in warnings) == 1
