"""`bnlab.train(model=..., data=...)`: objects in a notebook in place of names."""

import subprocess
import sys

import numpy as np
import own_data
import own_networks
import pytest
import torch
from torch import nn

import bnlab
from bnlab.errors import BnlabError, ConfigError
from bnlab.experiment.given_parts import words_of_given
from bnlab.own_code.given import digest_of_code

QUICK = ["train.steps=4", "train.batch_size=10", "diagnostics=none"]


class Local:
    """Holds a class that no process can import by its name."""

    class Net(nn.Module):
        def __init__(self, input_shape, num_classes):
            super().__init__()
            self.first, self.norm = nn.Linear(input_shape[0], 8, bias=False), nn.BatchNorm1d(8)
            self.act, self.last = nn.ReLU(), nn.Linear(8, num_classes)

        def forward(self, x):
            return self.last(self.act(self.norm(self.first(x))))


def rows():
    random = np.random.RandomState(0)
    return random.randn(60, 5).astype(np.float32), np.arange(60) % 3


def test_what_lies_in_a_module_is_named_by_its_place():
    words = words_of_given(["seed=1"], own_networks.Rows, own_data.splits)
    assert words == ["seed=1", "model=own_networks:Rows", "data=own_data:splits"]


@pytest.mark.slow
def test_objects_are_trained_found_again_and_loaded_in_this_process():
    first = bnlab.train(QUICK, model=Local.Net, data=rows())
    assert (first.status, first.cached) == ("finished", False)
    assert first.run_id.startswith("batch-Net-data-")
    assert bnlab.train(QUICK, model=Local.Net, data=rows()).cached
    model = bnlab.load_model(first.folder)
    assert type(model.net) is Local.Net
    assert type(model.net.norm).__module__ == "bnlab.norms.batch"


@pytest.mark.slow
def test_another_process_says_what_it_does_not_have():
    summary = bnlab.train(QUICK, model=Local.Net, data=rows())
    load = f"bnlab.load_model({summary.folder!r})"
    code = f"import bnlab\ntry:\n    {load}\nexcept bnlab.BnlabError as error:\n    print(error)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == (
        "model=given:Net was given to bnlab.train as an object, which this process does not have: give it again, "
        "bnlab.train(..., model=Net), or put it into a module, model=package.module:Net.\n"
    )


def test_a_network_that_is_there_keeps_its_weights_at_every_seed():
    torch.manual_seed(0)
    net = Local.Net((5,), 3)
    frozen = [*QUICK, "train.parameters=output", "norm=layer"]
    kept = [bnlab.load_model(bnlab.train([*frozen, f"seed={seed}"], model=net, data=rows()).folder) for seed in (0, 1)]
    for model in kept:
        assert torch.equal(model.net.first.weight, net.first.weight)
    assert isinstance(net.norm, nn.BatchNorm1d), "the object itself is left as it was"


def test_other_weights_other_data_or_other_code_make_another_run():
    ids = []
    for seed, shift in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(seed)
        images, labels = rows()
        net = Local.Net((5,), 3)
        ids.append(bnlab.train(QUICK, model=net, data=(images + shift * images**2, labels)).run_id)
    assert len(set(ids)) == 3

    class Net(Local.Net):
        def forward(self, x):
            return super().forward(2 * x)

    assert digest_of_code(Net) != digest_of_code(Local.Net)
    assert digest_of_code(lambda x: x + 1) == digest_of_code(lambda x: x + 1) != digest_of_code(lambda x: x + 2)


NOTEBOOK = """
from torch import nn
WIDTHS = [8, 8]
SCALE = 2.0
class Block(nn.Linear):
    def forward(self, x):
        return SCALE * super().forward(x)
def helper(x, shift=0.5, *, times=1):
    return times * x + shift
def enclosing():
    inside = 3
    return lambda x: x + inside
added = enclosing()
class Net(nn.Module):
    sizes = {"last": [4]}
    def __init__(self, num_classes=10):
        super().__init__()
        self.first = Block(WIDTHS[0], num_classes)
    def forward(self, x):
        return added(helper(self.first(x)))
"""


def digest_of_net(old="", new=""):
    assert old in NOTEBOOK
    cells = {"__name__": "__main__"}
    exec(NOTEBOOK.replace(old, new, 1) if old else NOTEBOOK, cells)
    return digest_of_code(cells["Net"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[8, 8]", "[8, 9]"),
        ("SCALE = 2.0", "SCALE = 3.0"),
        ("SCALE * super", "SCALE + super"),
        ("shift=0.5", "shift=0.6"),
        ("times=1", "times=2"),
        ("inside = 3", "inside = 4"),
        ('"last": [4]', '"last": [5]'),
        ("num_classes=10", "num_classes=11"),
    ],
)
def test_all_that_the_code_of_a_given_network_names_belongs_to_it(old, new):
    assert digest_of_net() == digest_of_net("class Net", "# a comment\nclass Net") != digest_of_net(old, new)


def test_code_that_names_what_cannot_be_read_is_another_each_time():
    assert digest_of_net("SCALE = 2.0", "SCALE = (one for one in [2.0])") != digest_of_net(
        "SCALE = 2.0", "SCALE = (one for one in [2.0])"
    )


def test_what_is_no_network_or_no_data_is_one_sentence():
    with pytest.raises(ConfigError, match=r"^model is given twice: as model=\.\.\. of bnlab\.train, and as model=mlp"):
        bnlab.train(["model=mlp"], model=Local.Net)
    with pytest.raises(ConfigError, match="must be a class of networks, a function that builds one, or a network, got"):
        bnlab.train([], model=3)
    with pytest.raises(ConfigError, match=r"Write it among the words: 'model=my_models:Net'\."):
        bnlab.train([], model="my_models:Net")
    with pytest.raises(ConfigError, match=r"Write it among the words: 'data=digits'\."):
        bnlab.train([], data="digits")
    with pytest.raises(BnlabError, match="data is neither a pair of arrays nor a data set with a length: int"):
        bnlab.train([], data=3)
