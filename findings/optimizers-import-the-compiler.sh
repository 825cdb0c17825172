#!/usr/bin/env bash
# torch 2.14.1, CPU: making an optimizer imports torch's compiler (torch._dynamo, and sympy with it: about 800 modules), though
# nothing is compiled. So do the first addition of two tensors on the meta device and the first use of FlopCounterMode, while
# a forward and a backward pass do not. A program that trains for a second waits about as long again as for `import torch`
# (1.5 s of CPU time here), once in each process, so in each worker of a sweep. Environment variables that switch
# the compiler off (TORCHDYNAMO_DISABLE=1, TORCH_COMPILE_DISABLE=1) do not change it. Fails if torch does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cd "$folder"
cat > imports.py <<'EOF2'
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

weight = torch.ones(3, requires_grad=True)


def train_by_hand():
    (weight * weight).sum().backward()
    with torch.no_grad():
        weight.sub_(0.1 * weight.grad)


def add_on_meta():
    x = torch.ones(3, device="meta")
    return x + x


def count():
    with FlopCounterMode(display=False):
        return torch.ones(3, 3) @ torch.ones(3, 3)


uses = {
    "a step by hand": train_by_hand,
    "torch.optim.SGD": lambda: torch.optim.SGD([weight], lr=0.1),
    "torch.optim.AdamW": lambda: torch.optim.AdamW([weight], lr=0.1),
    "an addition on the meta device": add_on_meta,
    "FlopCounterMode": count,
}
name, before, began = sys.argv[1], len(sys.modules), time.process_time()
uses[name]()
seconds, imported = time.process_time() - began, "torch._dynamo" in sys.modules
print(f"{name}: {len(sys.modules) - before} modules, {seconds:.1f} CPU-s, the compiler {'is' if imported else 'is not'} imported")
if imported != (name != "a step by hand"):
    raise SystemExit("torch does otherwise now")
EOF2
for name in "a step by hand" "torch.optim.SGD" "torch.optim.AdamW" "an addition on the meta device" "FlopCounterMode"; do
    "$folder/env/bin/python" imports.py "$name"
done
echo "with TORCHDYNAMO_DISABLE=1 TORCH_COMPILE_DISABLE=1:"
TORCHDYNAMO_DISABLE=1 TORCH_COMPILE_DISABLE=1 "$folder/env/bin/python" imports.py torch.optim.SGD
