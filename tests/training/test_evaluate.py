"""What a run is trained on and judged by: smoothed labels, and logits of mirror images."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnlab.config.compose import compose_run
from bnlab.data.splits import Split
from bnlab.errors import ConfigError
from bnlab.experiment.checking import check
from bnlab.training.evaluate import evaluate


class FirstColumns(torch.nn.Module):
    """Logits that are the means of the left and of the right half of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2)).unflatten(1, (2, -1)).mean(2) ** 3


def split() -> Split:
    return Split(torch.randn(40, 1, 4, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)


def test_a_mirrored_evaluation_averages_the_logits_of_an_image_and_its_mirror_image() -> None:
    data, model = split(), FirstColumns()
    logits = (model(data.images) + model(torch.flip(data.images, [3]))) / 2
    found = evaluate(model, data, "float32", mirrored=True)
    assert float(found["loss"]) == pytest.approx(float(F.cross_entropy(logits, data.labels)), rel=1e-6)
    assert float(found["loss"]) == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-6)  # both logits are equal
    assert float(evaluate(model, data, "float32", mirrored=False)["loss"]) != pytest.approx(
        float(found["loss"]), rel=1e-3
    )


def test_rows_of_numbers_have_no_mirror_image(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(90, 5))
    np.savez(tmp_path / "rows.npz", images=rows, labels=np.arange(90) % 3)
    with pytest.raises(ConfigError, match=r"train\.mirrored_evaluation=true needs images, got rows of 5 numbers\."):
        check(compose_run(["data=npz", f"data.path={tmp_path / 'rows.npz'}", "train.mirrored_evaluation=true"]))
