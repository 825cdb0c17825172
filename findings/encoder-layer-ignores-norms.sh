#!/usr/bin/env bash
# torch 2.14.1: nn.TransformerEncoderLayer computes a LayerNorm in eval mode, whatever stands at norm1 and norm2. Where no
# gradient is needed, its fast path reads weight, bias and eps of the two modules and never calls them. A norm of one's own with
# these three attributes is trained as itself and evaluated as a LayerNorm, without a word: below, outputs of a layer with an
# RMSNorm are off by 1 to 3. It happens without gradients only (torch.no_grad), so that a test with gradients sees nothing, and
# a forward hook anywhere in the layer switches the fast path off, so that looking makes it right. torch's own nn.RMSNorm, and
# nn.Identity, train well and raise AttributeError in eval mode. Fails if torch does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import torch
from torch import nn


class RMSNormWithBias(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


def encoder_layer(norm_first, norm):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    layer.norm1, layer.norm2 = norm(16), norm(16)
    return layer


def distance(one, other):
    return float((one - other).detach().abs().max())


x = torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(0)) + 3
for norm_first in (False, True):
    layer, with_layer_norm = encoder_layer(norm_first, RMSNormWithBias), encoder_layer(norm_first, nn.LayerNorm)
    trained, with_gradient = layer.train()(x), layer.eval()(x)
    with torch.no_grad():
        evaluated, expected = layer.eval()(x), with_layer_norm.train()(x)
        hook = layer.linear2.register_forward_hook(lambda *_: None)
        with_hook = layer(x)
    found = [distance(trained, y) for y in (with_gradient, with_hook, evaluated)] + [distance(evaluated, expected)]
    print(
        f"norm_first={norm_first}: eval mode differs from training mode by {found[0]:.1g} with gradients, by {found[1]:.1g} "
        f"with a hook, by {found[2]:.2g} without both; from a layer with LayerNorm then by {found[3]:.1g}"
    )
    if max(found[0], found[1], found[3]) > 1e-4 or found[2] < 0.5:
        raise SystemExit("torch does otherwise now")
for norm in (nn.RMSNorm, nn.Identity):
    layer = encoder_layer(False, norm)
    layer.train()(x)
    try:
        with torch.no_grad():
            layer.eval()(x)
    except AttributeError as error:
        print(f"{norm.__name__} in eval mode: AttributeError: {error}")
    else:
        raise SystemExit("torch does otherwise now")
EOF
