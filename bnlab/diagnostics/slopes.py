"""Straight lines through values of all layers."""

from torch import Tensor


def slope_of(y_L: Tensor, x_L: Tensor) -> Tensor:
    """Return the slope of the line through points, by least squares, a scalar.

    Args:
        y_L: The value at each of L places, two or more.
        x_L: Where they stand; not all at one place.

    Example:
        >>> import torch
        >>> slope_of(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.0, 1.0, 2.0]))
        tensor(2.)
    """
    centered_L = x_L - x_L.mean()
    return (centered_L * y_L).sum() / centered_L.square().sum()
