"""Norms that make trouble in training, by what stands in the file that they are told of."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn


class Troubled(nn.Module):
    """Pass the input on; while the file says so, take long, raise, or kill the process at the twelfth pass in training.

    A run that takes long can be met in training, without many steps.
    """

    def __init__(self, num_channels: int, trouble: str = "") -> None:
        super().__init__()
        self.num_passes = 0
        self.trouble = trouble
        self.scale = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        self.num_passes += self.training
        if self.training and Path(self.trouble).is_file() and Path(self.trouble).read_text() == "slow":
            time.sleep(0.1)
        if self.num_passes == 12 and Path(self.trouble).is_file():
            kind = Path(self.trouble).read_text()
            if kind == "raise":
                raise ArithmeticError("two and two are five")
            if kind == "kill once":
                Path(self.trouble).unlink()
            if kind.startswith("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
        return x * self.scale
