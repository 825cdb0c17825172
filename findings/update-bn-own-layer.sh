#!/usr/bin/env bash
# torch 2.14.1: torch.optim.swa_utils.update_bn, which is to be called after averaging weights, passes over the data and leaves
# the running statistics of a normalization layer of one's own as they were, without a word. It resets and estimates anew those
# of subclasses of torch's _BatchNorm only; a layer with the same buffers (running_mean, running_var, num_batches_tracked) and
# momentum, which nn.BatchNorm1d's state_dict even loads into, keeps the statistics of before the averaging. Where there is no
# such subclass at all, the data are not even read. Fails if torch does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import torch
from torch import nn
from torch.optim.swa_utils import update_bn


class Own(nn.Module):
    """BatchNorm without affine, with torch's buffers and momentum."""

    def __init__(self, num_channels):
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        training = self.training
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, training=training, momentum=self.momentum)


class Counted:
    def __init__(self, batches):
        self.batches, self.read = batches, 0

    def __iter__(self):
        for batch in self.batches:
            self.read += 1
            yield batch


for layer in (nn.BatchNorm1d(2, affine=False), Own(2)):
    data = Counted([5 + torch.randn(64, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(4)])
    update_bn(data, nn.Sequential(layer))
    mean = layer.running_mean.mean().item()
    print(f"{type(layer).__name__}: mean {mean:.1f} of data with mean 5, {data.read} of 4 batches read")
    if (mean > 4, data.read) != ((True, 4) if isinstance(layer, nn.BatchNorm1d) else (False, 0)):
        raise SystemExit("torch does otherwise now")
EOF
