"""Functions that return data, as somebody would write them."""

import numpy as np
import torch

random = np.random.RandomState(0)
LABELS = np.arange(60) % 3
IMAGES = (random.randn(60, 8, 8) + LABELS[:, None, None]).astype(np.float32)


class Pairs:
    """A data set of torch's kind, with tensors (C, H, W)."""

    def __init__(self, start, end):
        self.start, self.end = start, end

    def __len__(self):
        return self.end - self.start

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError(i)
        return torch.from_numpy(IMAGES[self.start + i])[None], int(LABELS[self.start + i])


def arrays():
    return IMAGES, LABELS


def tensors():
    return torch.from_numpy(IMAGES)[:, None], torch.from_numpy(LABELS)


def colors():
    return torch.from_numpy(IMAGES)[:, None].expand(-1, 3, -1, -1), torch.from_numpy(LABELS)


def data_set():
    return Pairs(0, 60)


def splits():
    return {"train": Pairs(0, 30), "val": (IMAGES[30:45], LABELS[30:45]), "test": Pairs(45, 60)}


def seeded(split_seed):
    return IMAGES + split_seed, LABELS


def failing():
    raise OSError("no such disk")


def one_number():
    return 3


def odd_splits():
    return {"training": (IMAGES, LABELS)}


def odd_shapes():
    return [(IMAGES[0], 0), (IMAGES[1][:4], 1)]


def odd_items():
    return [1, 2, 3]
