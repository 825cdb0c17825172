"""Images as sequences: rows or pixels in their order, or pixels in a fixed random order.

Shape letters: N batch, C channels, H and W height and width, T time steps, F features of a step, D numbers of a row.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.seeding import generator_for

Steps = Literal["rows", "pixels"]


class Sequences(nn.Module):
    """Turn images into sequences, (N, T, F).

    ``rows``: a step is a row of the image, with C * W features. ``pixels``: a step is a pixel with C features, row by
    row. A row of D numbers has no rows: with ``pixels``, each number is a step.

    Args:
        order: ``rows`` or ``pixels``.
        input_shape: The shape of one image, (C, H, W) or (D,).
        model: The name of the network, for messages.
        permute_seed: The seed of a random order of the pixels, the same for all images; None: they keep their order.

    Attributes:
        num_steps: T, the number of time steps.
        num_features: F, the number of features of a step.

    Shape:
        (N, C, H, W) or (N, D) -> (N, T, F).

    Raises:
        ConfigError: Rows of numbers as rows of an image.

    Source:
        Le, Jaitly & Hinton 2015, arXiv:1504.00941 (pixels, in their order and in a random one).

    Example:
        >>> x_NCHW = torch.arange(4.0).view(1, 1, 2, 2)
        >>> Sequences("rows", (1, 2, 2), "lstm")(x_NCHW)
        tensor([[[0., 1.],
                 [2., 3.]]])
        >>> Sequences("pixels", (1, 2, 2), "lstm")(x_NCHW).shape
        torch.Size([1, 4, 1])
    """

    places: Tensor | None

    def __init__(self, order: Steps, input_shape: tuple[int, ...], model: str, permute_seed: int | None = None) -> None:
        super().__init__()
        if len(input_shape) == 1:
            if order == "rows":
                raise ConfigError(
                    f"model={model} with model.sequence=rows needs images, got rows of {input_shape[0]} numbers. "
                    "Use model.sequence=pixels, where each number is a time step."
                )
            num_channels, height, width = 1, input_shape[0], 1
        else:
            num_channels, height, width = input_shape
        self.num_steps, self.num_features = (
            (height, num_channels * width) if order == "rows" else (height * width, num_channels)
        )
        drawn = None
        if permute_seed is not None:
            drawn = torch.randperm(height * width, generator=generator_for(permute_seed, "permute"), device="cpu")
            drawn = drawn.to(torch.get_default_device())
        self.register_buffer("places", drawn, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sequences of images."""
        x_NCP = x.flatten(2) if x.dim() > 2 else x.unsqueeze(1)
        if self.places is not None:
            x_NCP = x_NCP[:, :, self.places]
        x_NCTW = x_NCP.reshape(*x_NCP.shape[:2], self.num_steps, -1)
        return x_NCTW.transpose(1, 2).flatten(2)


def lengths_of(x_NTF: Tensor) -> Tensor:
    """Return the number of steps of each sequence up to its last step that is not all 0, (N,); at least 1.

    `data.padding_value` sets padding to 0, which is the mean of all other values.

    Args:
        x_NTF: The sequences, from `Sequences`.

    Example:
        >>> lengths_of(torch.tensor([[[1.0, 0.0], [0.0, 0.0], [2.0, 1.0], [0.0, 0.0]]]))
        tensor([3])
    """
    place_T = torch.arange(1, x_NTF.shape[1] + 1, device=x_NTF.device)
    return ((x_NTF != 0).any(2) * place_T).amax(1).clamp(min=1)
