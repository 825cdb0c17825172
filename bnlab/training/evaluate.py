"""Loss and accuracy over a whole split."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.data.splits import Split
from bnlab.training.precision import autocast

EVAL_BATCH = 500
"""Images per forward pass. The number changes no result; 500 images' activations fit the memory of a small machine."""


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, precision: str) -> dict[str, Tensor]:
    """Return mean loss and accuracy over a split, in eval mode; the model's mode is left as it was.

    Args:
        model: The network to evaluate.
        split: The images and labels; every image counts, and the last batch may be smaller.
        precision: ``float32`` or ``bfloat16``, as in training.

    Returns:
        ``loss`` (mean cross-entropy) and ``accuracy`` (share), scalar tensors on the device.
    """
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device="cpu" if split.labels.is_mps else split.labels.device)
    num_right = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(
        torch.split(split.images, EVAL_BATCH), torch.split(split.labels, EVAL_BATCH), strict=True
    ):
        with autocast(precision, images.device):
            logits = model(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").to(loss.device)
        num_right += (logits.argmax(1) == labels).sum()
    model.train(was_training)
    return {"loss": loss / len(split), "accuracy": num_right.cpu().double() / len(split)}
