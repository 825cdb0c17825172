"""The training of bench_models.py as others would write it: PIL images, torchvision's transforms, a DataLoader.

    python scripts/bench_models_peers.py    # says where the benchmark is; it has no other use

The network comes from outside, and nothing else of bnlab is used.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

try:
    import lightning
except ImportError:
    lightning = None

LR, MOMENTUM = 1e-6, 0.9
"""So small a rate that no network diverges, without a norm either: bnlab would end its run."""


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images and labels in memory, one at a time, as torchvision.datasets.CIFAR10 gives them.

    Args:
        images_NHWC: uint8.
        labels_N: Classes from 0.
        crop_padding: The largest shift in each direction, in pixels.
    """

    def __init__(self, images_NHWC: NDArray[Any], labels_N: NDArray[Any], crop_padding: int) -> None:
        self.images, self.labels = images_NHWC, [int(label) for label in labels_N]
        height, width, num_colors = images_NHWC.shape[1:]
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop((height, width), padding=crop_padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * num_colors, (0.25,) * num_colors),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def loader_of(pictures: Pictures, batch_size: int, num_workers: int) -> DataLoader[tuple[Tensor, int]]:
    """Return what gives shuffled batches."""
    return DataLoader(pictures, batch_size, shuffle=True, drop_last=True, num_workers=num_workers)


class PlainLoop:
    """The loop as people write it.

    Args:
        network: It is trained.
        loader: Of the batches.
    """

    def __init__(self, network: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> None:
        self.network, self.loader = network.train(), loader
        self.optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
        self.total_loss = 0.0

    def seconds(self, num_steps: int) -> float:
        """Make steps; return the seconds that one takes.

        The first step of a turn, which waits for workers to start, is made before and not counted.

        Args:
            num_steps: How many to count.
        """
        batches = self._batches()
        self._step(*next(batches))
        began = time.perf_counter()
        for _ in range(num_steps):
            self._step(*next(batches))
        return (time.perf_counter() - began) / num_steps

    def _batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.total_loss += loss.item()


def lightning_seconds(network: nn.Module, loader: DataLoader[tuple[Tensor, int]], num_steps: int) -> float:
    """Make steps with lightning's Trainer; return the seconds that one takes, from the end of the first step on.

    Logger, progress bar, checkpoints and summary are off: what remains is its loop.

    Args:
        network: It is trained.
        loader: Of the batches.
        num_steps: How many.
    """
    ends: list[float] = []

    class Classifier(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, labels = batch
            loss = F.cross_entropy(self.network(images), labels)
            self.log("train_loss", loss)
            return loss

        def on_train_batch_end(self, *_: object) -> None:
            ends.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=LR, momentum=MOMENTUM)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for more workers, and for a validation
        off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
        trainer = lightning.Trainer(max_steps=num_steps + 1, accelerator="cpu", **dict.fromkeys(off, False))
        trainer.fit(Classifier(), loader)
    return (ends[-1] - ends[0]) / num_steps


def noise_images(num_images: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return color images of noise in ten classes, (N, size, size, 3)."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num_images, size, size, 3), dtype=np.uint8)
    return images, np.arange(num_images) % 10


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("python scripts/bench_models.py")
