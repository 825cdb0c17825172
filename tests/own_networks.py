"""Networks that know nothing of bnlab, as somebody would bring them."""

import functools

import torch
from torch import nn


class Residual(nn.Module):
    """One in-place ReLU for all places, and an addition to the output of a norm in place, as in torchvision."""

    def __init__(self, input_shape, num_classes, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        y += x
        return self.fc(self.relu(y).mean((2, 3)))


class Rows(nn.Module):
    """It takes a builder of norms."""

    def __init__(self, num_classes, build_norm, width=16):
        super().__init__()
        self.first, self.norm, self.act1 = nn.Linear(64, width, bias=False), build_norm(width), nn.GELU()
        self.second, self.act2 = nn.Linear(width, width), nn.GELU()
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.act2(self.second(self.act1(self.norm(self.first(x.flatten(1)))))))


class Tokens(nn.Module):
    """A transformer over the rows of an image, with torch's attention and activations as functions."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        width = input_shape[2]
        self.layer = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.layer(x[:, 0]).mean(1))


class OwnTokens(Tokens):
    """Its encoder layer has norms of its own, with the attributes of nn.LayerNorm."""

    def __init__(self, input_shape, num_classes, build_norm):
        super().__init__(input_shape, num_classes)
        self.layer.norm1 = OnTokens(build_norm(input_shape[2]))
        self.layer.norm2 = OnTokens(build_norm(input_shape[2]))


class OnTokens(nn.Module):
    """A norm of rows for tokens."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.eps, self.weight = norm, 1e-5, norm.weight
        self.bias = nn.Parameter(torch.zeros(len(norm.weight)))

    def forward(self, x):
        return self.norm(x.flatten(0, 1)).view_as(x) + self.bias


class Plain(nn.Module):
    """No norm at all."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


class Probabilities(Plain):
    """It ends with a softmax."""

    def forward(self, x):
        return super().forward(x).softmax(1)


class Branching(Plain):
    """It decides by the values of its input."""

    def forward(self, x):
        return super().forward(x if x.mean() > 0 else -x)


class Five(nn.Module):
    """It does not ask how many classes there are."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        return self.last(x.flatten(1))


class Drawing(Plain):
    """Its dropout draws from torch's own generator."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


def built(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, num_classes))


built_already = built(10)


def no_network(num_classes):
    return torch.zeros(num_classes)


class Shapes(nn.Module):
    """Linear maps before a norm: alone, with a bias, with a second use, and behind a reshape."""

    def __init__(self, build_norm, num_classes):
        super().__init__()
        linear = functools.partial(nn.Linear, 64, 64)
        self.alone, self.norm1 = linear(bias=False), build_norm(64)
        self.biased, self.norm2 = linear(), build_norm(64)
        self.twice, self.norm3 = linear(bias=False), build_norm(64)
        self.moved, self.norm4 = linear(bias=False), build_norm(8)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.norm2(self.biased(self.norm1(self.alone(x.flatten(1)))))
        y = self.twice(x)
        x = self.norm3(y) + y
        return self.head(self.norm4(self.moved(x).view(-1, 8, 8)).flatten(1))


def one_activation(num_classes, learned=False):
    act = nn.PReLU() if learned else nn.ReLU()
    parts = nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8), act, nn.Linear(8, 8), act, nn.Linear(8, num_classes)
    return nn.Sequential(nn.Flatten(), *parts)


class Unused(Plain):
    """It has a layer that no pass uses."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.unused = nn.Linear(3, 3)


class TwoSizes(nn.Module):
    """It uses one convolution and one norm at two sizes of the image."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(input_shape[0], input_shape[0], 3, padding=1), nn.BatchNorm2d(input_shape[0])
        self.act, self.last = nn.ReLU(), nn.Linear(input_shape[0], num_classes)

    def forward(self, x):
        large = self.norm(self.conv(x))
        small = self.norm(self.conv(nn.functional.avg_pool2d(large, 2)))
        return self.last(self.act(small).mean((2, 3)))


class Forgetful(Plain):
    """It keeps an average that no checkpoint has."""

    average = torch.zeros(())

    def forward(self, x):
        if self.training:
            self.average = 0.9 * self.average + 0.1 * x.detach().mean()
        return super().forward(x - self.average)
