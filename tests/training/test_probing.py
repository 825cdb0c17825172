"""What diagnostics look at: images of all classes, held out or trained on, the same in all seeds and arms."""

import pytest
import torch

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.training.probing import build_probe


def probe(*words):
    config = compose_run(["data=mnist_5k", *words])
    data = open_data(config.data)
    return build_probe(config, data, "relu"), data


def rows(images):
    return {image.numpy().tobytes() for image in images}


def test_images_that_lie_ordered_by_class_are_drawn_from_all_classes():
    seen, data = probe("diagnostics.probe_size=100", "diagnostics.population_size=200")
    assert data.train.labels[:40].unique().tolist() == [0], "they lie ordered"
    assert sorted(seen.labels.unique().tolist()) == list(range(10))
    assert all(len(batch.labels.unique()) > 5 for batch in seen.training_batches)


def test_the_probe_is_held_out_and_the_population_is_trained_on():
    seen, data = probe("diagnostics.probe_size=100")
    assert len(seen.inputs) == 100
    assert rows(seen.inputs) <= rows(data.validation.images)
    assert rows(torch.cat([batch.inputs for batch in seen.training_batches])) <= rows(data.train.images)


def test_batches_are_as_large_as_what_goes_through_the_network_at_a_time():
    seen, _ = probe("train.batch_size=64", "train.accumulation=2", "diagnostics.population_size=200")
    assert [len(batch.labels) for batch in seen.training_batches] == [32] * 6
    seen, _ = probe("train.batch_size=64", "diagnostics.population_size=10")
    assert [len(batch.labels) for batch in seen.training_batches] == [64]


@pytest.mark.slow
def test_seeds_and_arms_look_at_the_same_images_and_splits_at_others():
    seen, same, other = probe("seed=0"), probe("seed=1", "norm=none"), probe("data.split_seed=1")
    assert torch.equal(seen[0].inputs, same[0].inputs)
    assert torch.equal(seen[0].training_batches[3].inputs, same[0].training_batches[3].inputs)
    assert not torch.equal(seen[0].inputs, other[0].inputs)


def test_more_images_than_there_are_are_all_of_them():
    seen, data = probe("diagnostics.probe_size=100000", "diagnostics.population_size=100000")
    assert len(seen.inputs) == len(data.validation)
    assert len(seen.training_batches) == len(data.train) // 60
