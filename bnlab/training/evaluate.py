"""Loss and accuracy over a whole split."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.data.splits import Split
from bnlab.training.precision import autocast

EVAL_BATCH = 500
"""Images per forward pass. The number changes no result; 500 images' activations fit the memory of a small machine."""


def logits_of(network: Callable[[Tensor], Tensor], images: Tensor, mirrored: bool) -> Tensor:
    """Return the logits that count in an evaluation, (B, K).

    Args:
        network: A function from images to logits.
        images: A batch, (B, C, H, W) if they are mirrored.
        mirrored: As in `evaluate`.
    """
    if not mirrored:
        return network(images)
    return (network(images) + network(images.flip(-1))) / 2


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, precision: str, mirrored: bool) -> dict[str, Tensor]:
    """Return mean loss and accuracy over a split, in eval mode; the model's mode is left as it was.

    Args:
        model: The network to evaluate.
        split: The images and labels; every image counts, and the last batch may be smaller.
        precision: ``float32`` or ``bfloat16``, as in training.
        mirrored: Whether the logits are the mean of those of an image and of its mirror image.

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
            logits = logits_of(model, images, mirrored)
            loss += F.cross_entropy(logits, labels, reduction="sum").to(loss.device)
        num_right += (logits.argmax(1) == labels).sum()
    model.train(was_training)
    return {"loss": loss / len(split), "accuracy": num_right.cpu().double() / len(split)}
