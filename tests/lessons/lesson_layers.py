"""A user's own layers, which declare nothing about themselves."""

import torch
from torch import Tensor, nn


class _OwnBatchNorm(nn.Module):
    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_channels))
        self.eps = 1e-5

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(1, -1, *(1 for _ in x.shape[2:]))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = [axis for axis in range(x.dim()) if axis != 1]
    return x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)


class MeanDetached(_OwnBatchNorm):
    """Normalize over the batch, with no gradient through the mean."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = moments(x)
        return self.scaled((x - mean.detach()) / (var + self.eps).sqrt())


class BothDetached(_OwnBatchNorm):
    """Normalize over the batch, with no gradient through the statistics."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = (statistic.detach() for statistic in moments(x))
        return self.scaled((x - mean) / (var + self.eps).sqrt())


class PositionNorm(_OwnBatchNorm):
    """Normalize each position of each sample over its channels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled((x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + self.eps).sqrt())


class UnbiasedOutput(_OwnBatchNorm):
    """Divide by the unbiased variance: no formula that a lesson knows."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = moments(x)
        many = x.numel() / x.shape[1]
        return self.scaled((x - mean) / (var * many / (many - 1) + self.eps).sqrt())


class Window(nn.Module):
    """Subtract the mean of each value and its neighbors among the samples: sets that overlap."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x - (x + x.roll(1, 0)) / 2


class Failing(nn.Module):
    """Raise an error for any input."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002
        raise RuntimeError("five\nsix")


class Narrowing(nn.Module):
    """Return fewer channels than the input has."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1]


class WithoutGradient(nn.Module):
    """Return an output without a gradient; start with a scale of 0."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)).detach()


class InPlace(nn.Module):
    """Write the output over the input."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(x.mean(0))


class Whitening(nn.Module):
    """Whiten by a triangular matrix: whether a value affects another depends on their order."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(0)
        covariance = x.T @ x / len(x) + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)
        return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), x.T, upper=False).T


class NotFinite(nn.Module):
    """Return NaN."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x / 0 * 0


class Refusing(nn.Module):
    """Raise an error in the constructor."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        raise ValueError(f"not with {num_channels}")


class HalfBatchHalfLayer(nn.Module):
    """The first half of the channels is normalized over the batch, the others within each sample."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.half = num_channels // 2

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, : self.half], x[:, self.half :]
        return torch.cat([first - first.mean(0), second - second.mean(1, keepdim=True)], 1)


class RmsOfTwo(nn.Module):
    """Each sample is divided by the root mean square of its first two channels."""

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x / x[:, :2].square().mean(1, keepdim=True).sqrt()
