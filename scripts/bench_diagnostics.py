"""Bench what diagnostics cost: bundles of bnlab's, and beside them two ways of others to look inside.

    python scripts/bench_diagnostics.py                    # the default run, and what others cost there
    python scripts/bench_diagnostics.py run norm=layer     # the default run of another norm
    python scripts/bench_diagnostics.py cnn                # a CNN on CIFAR-10 (BNLAB_DATA says where it lies)
    python scripts/bench_diagnostics.py each               # each diagnostic by itself, in milliseconds
    python scripts/bench_diagnostics.py --write            # keep the figures in scripts/bench_results/

run     whole trainings with diagnostics=none, cheap and full take turns, everything recorded. Of others, steps of the
        same network in a loop by hand take turns: plain, with a hook per layer that copies its activations (the naive
        way), and with delve (pip install --no-deps delve tqdm), if it is there, which looks at every step.
cnn     a training takes minutes, so steps and looks take turns, and the share is told from the number of each that a
        whole run makes.

Ratios are those of one round, so that the speed of a shared machine drops out. One thread.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from bench_norms import RESULTS
from bench_train import by_bnlab
from torch import Tensor, nn

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.diagnostic import Moment
from bnlab.diagnostics.measuring import measure_all
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check

Look = Callable[[nn.Module], contextlib.AbstractContextManager[Callable[[], object]]]
"""Model -> a context in which it is looked at; what it yields is called after every step."""

PEER_STEPS = 200


def bench_run(overrides: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of whole trainings by bundle and round."""
    seconds: dict[str, list[float]] = {"none": [], "cheap": [], "full": []}
    configs = {name: compose_run([*overrides, f"diagnostics={name}"]) for name in seconds}
    for number in range(rounds + 1):
        for name, config in configs.items():
            took = by_bnlab(config, records=True)
            if number:  # the first round warms up
                seconds[name].append(took)
    return seconds


@contextlib.contextmanager
def plain(_: nn.Module) -> Iterator[Callable[[], object]]:
    """Do not look."""
    yield lambda: None


@contextlib.contextmanager
def naive(model: nn.Module) -> Iterator[Callable[[], object]]:
    """Copy what comes out of every layer, and take the share of large values of it."""
    kept: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: kept.append(output.detach().clone()))
        for module in model.modules()
        if not list(module.children())
    ]

    def look() -> None:
        _ = [(copy.abs() > 0.9).float().mean().item() for copy in kept]
        kept.clear()

    yield look
    for hook in hooks:
        hook.remove()


@contextlib.contextmanager
def delve(model: nn.Module) -> Iterator[Callable[[], object]]:
    """Let delve look at every step, as its README does."""
    from delve import SaturationTracker  # noqa: PLC0415  (a peer, which need not be there)

    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        tracker = SaturationTracker(f"{folder}/run", save_to="csv", modules=model, device="cpu")
        yield tracker.add_saturations
        tracker.close()


def bench_peers(overrides: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step by way of looking and round."""
    looks: dict[str, Look] = {"plain": plain, "naive hook": naive}
    if importlib.util.find_spec("delve"):
        looks["delve"] = delve
    config = compose_run([*overrides, "diagnostics=none"])
    seconds: dict[str, list[float]] = {name: [] for name in looks}
    for number in range(rounds + 1):
        for name, look in looks.items():
            run, model = assemble(config, check(config))
            optimizer = torch.optim.SGD(model.parameters(), lr=config.optim.lr, fused=True)
            batches = list(itertools.islice(run.batches, PEER_STEPS))
            with look(model) as seen:
                began = time.perf_counter()
                for images, labels in batches:
                    optimizer.zero_grad()
                    F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    seen()
                took = (time.perf_counter() - began) / PEER_STEPS
            if number:
                seconds[name].append(took)
    return seconds


def bench_shares(overrides: Sequence[str], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the share of a whole training that each bundle would add, by round; steps and looks take turns."""
    shares: dict[str, list[float]] = {"cheap": [], "full": []}
    for name in shares:
        config = compose_run([*overrides, f"diagnostics={name}"])
        checked = check(config)
        run, _ = assemble(config, checked)
        plan, made = checked.plan, run.steps()
        num_light = len(plan.measured_steps - plan.heavy_steps)
        for number in range(rounds + 1):
            began = time.perf_counter()
            for _ in itertools.islice(made, steps):
                pass
            step_s = (time.perf_counter() - began) / steps
            looks_s = []
            for heavy in (False, True):
                run.keep_weights()
                next(made)
                began = time.perf_counter()
                run.measure(1, heavy=heavy)
                looks_s.append(time.perf_counter() - began)
            if number:
                looking_s = num_light * looks_s[0] + len(plan.heavy_steps) * looks_s[1]
                shares[name].append(looking_s / (plan.num_steps * step_s))
    return shares


def bench_each(overrides: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each diagnostic by itself, less those of looking without any that asks for more."""
    config = compose_run([*overrides, "diagnostics=full"])
    run, model = assemble(config, check(config))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for _ in itertools.islice(run.steps(), 20):
        pass
    moment = Moment(before, run.probe.training_batches[0], torch.tensor(config.optim.lr))
    seconds: dict[str, list[float]] = {name: [] for name in DIAGNOSTICS}
    for number, name in itertools.product(range(rounds + 1), DIAGNOSTICS):
        diagnostics = build_diagnostics([name])
        memories: dict[str, dict[str, Tensor]] = {}
        measure_all(diagnostics, model, model, run.probe, moment, memories)
        began = time.perf_counter()
        measure_all(diagnostics, model, model, run.probe, moment, memories)
        if number:
            seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Print the figures, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "cnn", "each"], nargs="?", default="run")
    parser.add_argument("overrides", nargs="*", help="of the config, for all rows")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of the CNN, between two looks")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts = provenance.hardware()
    print(f"{facts['processor']}, 1 thread; torch {torch.__version__}; {arguments.rounds} rounds; median (quartiles)")
    found: dict[str, Any] = {}
    if arguments.what == "run":
        found = {"training": bench_run(arguments.overrides, arguments.rounds)}
        found["others"] = bench_peers(arguments.overrides, arguments.rounds)
        print_ratios(found["training"], "none", "of a training")
        print_ratios(found["others"], "plain", "of a step")
    elif arguments.what == "cnn":
        words = ["data=cifar10", "model=cnn", *arguments.overrides]
        found = {"shares": bench_shares(words, arguments.rounds, arguments.steps)}
        for name, shares in found["shares"].items():
            print(f"  {name:12} {_spread([1 + share for share in shares])} times the time of a training")
    else:
        found = {"each": bench_each(arguments.overrides, arguments.rounds)}
        for name, seconds in sorted(found["each"].items(), key=lambda row: -statistics.median(row[1])):
            print(f"  {name:30} {1000 * statistics.median(seconds):8.2f} ms")
    if arguments.write:
        result = {"made": provenance.now(), "hardware": facts, "versions": provenance.versions()}
        path = RESULTS / f"diagnostics_{arguments.what}.json"
        kept = {**result, "overrides": arguments.overrides, "rounds": arguments.rounds, "found": found}
        path.write_text(json.dumps(kept, indent=1) + "\n")


def print_ratios(seconds: dict[str, list[float]], base: str, of_what: str) -> None:
    """Print how many times as long as the base each takes."""
    print(f"  {base}: {1000 * statistics.median(seconds[base]):.2f} ms {of_what}")
    for name, taken in seconds.items():
        if name != base:
            ratios = [one / other for one, other in zip(taken, seconds[base], strict=True)]
            print(f"  {name:12} {_spread(ratios)} times the time {of_what}")


def _spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
