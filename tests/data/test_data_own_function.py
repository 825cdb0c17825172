"""`data=package.module:function`: arrays, tensors and data sets of one's own."""

import numpy as np
import pytest
import torch
from own_data import IMAGES, LABELS

import bnlab
from bnlab.config.compose import compose_run
from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.opening import open_data
from bnlab.errors import BnlabError
from bnlab.identity.run_id import run_id


def config_of(name, *words):
    return compose_run([f"data=own_data:{name}", *words])


def normalized(images, by):
    return (images - by.mean()) / by.std()


@pytest.mark.parametrize("name", ["tensors", "data_set", "colors"])
def test_all_forms_give_the_splits_of_the_same_arrays(name):
    expected, data = open_data(config_of("arrays").data), open_data(config_of(name).data)
    for split in ("train", "validation", "test"):
        one, other = getattr(expected, split), getattr(data, split)
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.images.expand_as(other.images), other.images)
    assert data.input_shape == ((3 if name == "colors" else 1), 8, 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 6, 12)


def test_splits_that_the_function_returns_stay_whole():
    data = open_data(config_of("splits").data)
    expected = torch.from_numpy(normalized(IMAGES, IMAGES[:30].astype(np.float64)).astype(np.float32))[:, None]
    torch.testing.assert_close(data.train.images, expected[:30], atol=1e-5, rtol=0)
    torch.testing.assert_close(data.test.images, expected[45:], atol=1e-5, rtol=0)
    assert sorted(data.validation.labels.tolist()) == sorted(LABELS[30:45].tolist())
    assert data.test.labels.tolist() == LABELS[45:].tolist()


def test_a_function_may_ask_for_the_seed_of_the_split():
    ids = {run_id(config_of("seeded", f"data.split_seed={seed}")) for seed in (0, 1)}
    assert len(ids) == 2
    assert len({content_fingerprint(config_of("seeded", f"data.split_seed={seed}").data) for seed in (0, 1)}) == 2


def test_code_and_content_are_parts_of_the_runs_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    ids = []
    for number, (code, value) in enumerate([("x", 1.0), ("x + 0", 1.0), ("x", 2.0)]):
        (tmp_path / "values.npy").write_bytes(b"")
        np.save(tmp_path / "values.npy", np.full((30, 4), value) * np.arange(30)[:, None])
        (tmp_path / f"loading{number}.py").write_text(
            f"import numpy as np\n\n\ndef load():\n    x = np.load({str(tmp_path / 'values.npy')!r})\n"
            f"    return {code}, np.arange(30) % 2\n"
        )
        config = compose_run([f"data=loading{number}:load"])
        ids.append((run_id(config), content_fingerprint(config.data)))
    assert ids[0][0].startswith("batch-mlp-load-")
    assert len({run for run, _ in ids}) == 3
    assert ids[0][1] == ids[1][1] != ids[2][1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", r"data=own_data:gone cannot be imported: own_data has no gone"),
        ("failing", r"data=own_data:failing fails when it is called: OSError: no such disk"),
        ("one_number", r"is neither a pair of arrays nor a data set with a length: int\. Return \(images, labels\)"),
        ("odd_splits", r"must be split into train, val, test, got training"),
        ("odd_shapes", r"all images must be of one shape, got \(4, 8\) and \(8, 8\)"),
        ("odd_items", r"an item is no pair \(image, label\): TypeError"),
        ("LABELS", r"must be a function"),
    ],
)
def test_what_is_no_data_is_one_sentence(name, said):
    with pytest.raises(BnlabError, match=said) as caught:
        open_data(config_of(name).data)
    assert len(str(caught.value).splitlines()) == 1


def test_a_run_is_trained_on_it_and_found_again():
    words = ["data=own_data:splits", "train.steps=4", "train.batch_size=10", "diagnostics=none", "model.width=8"]
    first, second = bnlab.train(words), bnlab.train(words)
    assert (first.status, first.cached, second.cached) == ("finished", False, True)


def test_a_misspelled_setting_of_it_is_named():
    with pytest.raises(BnlabError, match=r"^data\.limt is not a setting.*data\.limit"):
        config_of("arrays", "data.limt=5")


def test_its_padding_can_be_named():
    assert config_of("arrays", "data.padding_value=0").data.padding_value == 0
