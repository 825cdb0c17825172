"""The sweep of bench_sweep.py as others would write it, with nothing of bnlab in it.

    python scripts/bench_sweep_peers.py hand TASK.json         # all runs, one after another, in a loop by hand
    python scripts/bench_sweep_peers.py lightning TASK.json 7  # the 7th run, with lightning and its defaults

The loop by hand is the best that we know without vectorizing: fused SGD, images that stay in memory as tensors, no
DataLoader, one thread, losses read once in a while, torch's own layers.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": nn.Identity,
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": lambda width: nn.GroupNorm(4, width),
}


def build(task: dict[str, Any], run: dict[str, Any], num_inputs: int) -> nn.Module:
    """Return a perceptron with a norm before each activation, of a seed."""
    torch.manual_seed(run["seed"])
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(task["depth"]):
        layers += [nn.Linear(num_inputs, task["width"]), NORMS[run["norm"]](task["width"]), nn.ReLU()]
        num_inputs = task["width"]
    return nn.Sequential(*layers, nn.Linear(num_inputs, 10))


def read(task: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return split -> (images, labels)."""
    data: dict[str, tuple[Tensor, Tensor]] = torch.load(task["data"], weights_only=True)
    return data


@torch.no_grad()
def look(model: nn.Module, split: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return loss and accuracy."""
    images, labels = split
    model.eval()
    logits = model(images)
    model.train()
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def by_hand(task: dict[str, Any]) -> list[tuple[float, float]]:
    """Train all runs; return the test loss and accuracy of each."""
    torch.set_num_threads(1)
    data = read(task)
    images, labels = data["train"]
    results = []
    for run in task["runs"]:
        model = build(task, run, images[0].numel())
        optimizer = torch.optim.SGD(model.parameters(), lr=run["lr"], momentum=task["momentum"], fused=True)
        losses: list[Tensor] = []
        curve, validations, step, size = [], [], 0, task["batch_size"]
        while step < task["steps"]:
            order = torch.randperm(len(labels))
            for start in range(0, len(labels) - size + 1, size):
                chosen = order[start : start + size]
                loss = F.cross_entropy(model(images[chosen]), labels[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.detach())
                step += 1
                if step % task["log_every"] == 0:
                    curve.append(torch.stack(losses).mean().item())
                    losses.clear()
                if step == task["steps"]:
                    break
            validations.append(look(model, data["validation"]))
        results.append(look(model, data["test"]))
    return results


def by_lightning(task: dict[str, Any], run: dict[str, Any]) -> None:
    """Train one run as its quick start shows it."""
    import lightning as L  # noqa: PLC0415  (the loop by hand does without)
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415

    class Classifier(L.LightningModule):  # type: ignore[misc]
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def shared(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
            images, labels = batch
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels)
            self.log(f"{name}_loss", loss)
            self.log(f"{name}_accuracy", (logits.argmax(1) == labels).float().mean())
            return loss

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return self.shared(batch, "train")

        def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
            self.shared(batch, "validation")

        def test_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:  # noqa: ARG002
            self.shared(batch, "test")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=run["lr"], momentum=task["momentum"])

    torch.set_num_threads(1)
    data = read(task)
    sets = {name: TensorDataset(*split) for name, split in data.items()}
    size = task["batch_size"]
    loaders = {name: DataLoader(sets[name], size, shuffle=name == "train", drop_last=name == "train") for name in sets}
    model = Classifier(build(task, run, data["train"][0][0].numel()))
    trainer = L.Trainer(max_steps=task["steps"], accelerator="cpu", log_every_n_steps=task["log_every"])
    trainer.fit(model, loaders["train"], loaders["validation"])
    trainer.test(model, loaders["test"], verbose=False)


if __name__ == "__main__":
    chosen_task = json.loads(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "hand":
        print(json.dumps(by_hand(chosen_task)))
    else:
        by_lightning(chosen_task, chosen_task["runs"][int(sys.argv[3])])
