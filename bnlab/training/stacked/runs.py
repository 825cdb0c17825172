"""Stacked runs: R networks of one architecture are trained by one program, and one operation serves all of them.

The runs differ only in numbers (seed, learning rate, weight decay, initial weights), so their operations are the same.
Each run has its own data order, augmentation, noise, optimizer and learning rate. So its results equal those of a run
trained alone, up to rounding: sums are taken in another order, and training magnifies the difference with every step.

Shape letters: R runs, B batch, K classes, P parameters of one run.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnlab.data.loader import Batches
from bnlab.data.splits import DataSet
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Batch, Moment
from bnlab.diagnostics.measuring import diagnostics_due
from bnlab.diagnostics.passes import Named
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.noise import Draw
from bnlab.records import SplitName
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.cohort import Cohort
from bnlab.training.optim import build_schedule
from bnlab.training.probing import build_probe
from bnlab.training.stacked.measure import StackedState, evaluate_stacked, measure_stacked
from bnlab.training.stacked.parameter_order import ParameterOrder
from bnlab.training.stacked.program import (
    Program,
    find_draws,
    kept_program,
    padded_size,
    trace_program,
    what_decides_passes,
)
from bnlab.training.trained import freeze_untrained


class StackedRuns(Cohort):
    """R runs of one architecture, with stacked tensors.

    The float32 bits of a run depend on the number of runs, because the order of a sum does. They do not depend on the
    values of the other runs: a run that diverges changes no bit of them.

    Args:
        configs: The settings of the runs; they differ only in numbers, and the precision of all is float32.
        data: The three splits, the same for all runs.
        device: The device to train on.
        num_steps: The number of optimizer steps of a whole run, for the learning-rate schedule.

    Attributes:
        network: A network of this architecture, for the names of its layers; it begins with the first run's weights.
    """

    def __init__(self, configs: Sequence[RunConfig], data: DataSet, device: torch.device, num_steps: int) -> None:
        self._device = device
        self._data = data.to(device, channels_last=False)  # grouped convolutions are no faster with channels last
        first = configs[0]
        self.network = self._build_network(first)
        self._order = ParameterOrder(self.network, first.optim)
        self._layout = self._order.layout
        self._shares = build_schedule(first.schedule, num_steps)
        self._diagnostics = build_diagnostics(first.diagnostics.names)
        self._probe = build_probe(first, self._data, self.network.activation_name)
        self._accumulation = first.train.accumulation
        self._allocate(configs)
        for row, config in enumerate(configs):
            network = self.network if row == 0 else self._build_network(config)
            self._fill_row(row, {**network.state_dict(), **dict(network.named_buffers())})

    def _build_network(self, config: RunConfig) -> Network:
        """Return a network with the initial weights of a run trained alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(
                stream_seed(config.seed, "noise")
            )  # for a norm that draws random numbers when it is built
            network = build_network(config, self._data.input_shape, self._data.num_classes)
        seed_weights(network, config.model, config.seed)
        network.see(self._data.train.images)
        freeze_untrained(network, config)
        return network.to(self._device)

    def _allocate(self, configs: Sequence[RunConfig]) -> None:
        """Allocate rows for these runs, with streams and optimizer in their initial state."""
        self.num_runs = len(configs)
        self._configs = list(configs)
        self._memories: list[dict[str, Named]] = [{} for _ in configs]
        self._kept_RP: Tensor | None = None
        self._batch: Batch | None = None
        num_rows = padded_size(len(configs))
        dtype = next(self.network.parameters()).dtype
        self._values_RP = torch.zeros(num_rows, self._layout.row_size, dtype=dtype, device=self._device)
        self._gradients_RP = torch.zeros_like(self._values_RP)
        self._trained = self._layout.named(self._values_RP)
        self._gradients = list(self._layout.named(self._gradients_RP).values())
        named = itertools.chain(self.network.named_parameters(), self.network.named_buffers())
        self._untrained = {n: torch.stack([v.detach()] * num_rows) for n, v in named if n not in self._trained}
        optims = [config.optim for config in configs]
        self._optimizer = self._order.build_optimizer(optims, self._values_RP, self._gradients_RP)
        first = configs[0]
        self._streams = {
            seed: Batches(self._data.train, first.train.batch_size, first.data, seed)
            for seed in dict.fromkeys(config.seed for config in configs)
        }
        stream_of_run = [list(self._streams).index(config.seed) for config in configs]
        stream_of_run += stream_of_run[-1:] * (num_rows - len(configs))
        self._stream_of_row = torch.tensor(stream_of_run, device=self._device)
        self._generators = [
            torch.Generator(self._device).manual_seed(stream_seed(config.seed, "noise")) for config in configs
        ]
        self._kind = what_decides_passes(self.network, first)
        self._program = self._find_program()

    def _find_program(self) -> Program:
        """Return the program for these shapes, from an earlier cohort of this process if there is one."""
        network, train = self.network, self._configs[0].train
        shape = (*self._values_RP.shape, train.part_size, *self._data.input_shape, self._data.num_classes)
        computed = (self._values_RP.dtype, str(self._device), train.label_smoothing)
        key = (self._kind, shape, tuple(self._layout.shapes), *computed)

        def trace() -> Program:
            size = (len(self._values_RP), train.part_size)
            images_RB = self._data.train.images.new_zeros(*size, *self._data.input_shape)
            labels_RB = self._data.train.labels.new_zeros(size)
            return trace_program(network, self._trained, self._untrained, images_RB, labels_RB, train.label_smoothing)

        return kept_program(key, trace) if self._kind is not None else trace()

    def _fill_row(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Set the parameters and buffers of a run; those of the last run also fill the padding rows.

        A buffer that is not part of the state, because it is the same in every run, keeps its value.
        """
        is_last = row == self.num_runs - 1
        rows = slice(row, len(self._values_RP) if is_last else row + 1)
        for stacked in (self._trained, self._untrained):
            for name, values in stacked.items():
                if name in state:
                    values[rows].copy_(state[name])

    def learning_rate(self, step: int) -> list[float]:
        """Return the learning rate of the step-th update, counted from 1, for each run."""
        share = self._shares(step - 1)
        return [config.optim.lr * share for config in self._configs]

    def steps(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Make optimizer steps without end; nothing in them waits for the device."""
        for step in itertools.count(start + 1):
            images_RB, labels_RB = self._batch = Batch(*self._next_batches())
            losses_R, logits_RBK = self._differentiate(images_RB, labels_RB)
            self._optimizer.step(self.learning_rate(step))
            yield losses_R[: self.num_runs], logits_RBK[: self.num_runs], labels_RB[: self.num_runs]

    def _next_batches(self) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of each row; runs of one seed share a stream."""
        split, streams = self._data.train, list(self._streams.values())
        if streams[0].augments:
            taken = [stream.take(stream.next_indices()) for stream in streams]
            images, labels = (torch.stack(parts) for parts in zip(*taken, strict=True))
            return images[self._stream_of_row], labels[self._stream_of_row]
        indices_RB = torch.stack([stream.next_indices() for stream in streams])[self._stream_of_row]
        # index_select: a third of the time of split.images[indices]
        images = torch.index_select(split.images, 0, indices_RB.flatten())
        return images.view(*indices_RB.shape, *images.shape[1:]), split.labels[indices_RB]

    @torch.no_grad()
    def _differentiate(self, images_RB: Tensor, labels_RB: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradients; return losses (R,) and logits (R, B, K). The parts of a batch are of equal size."""
        losses: list[Tensor] = []
        logits: list[Tensor] = []
        size = labels_RB.shape[1] // self._accumulation
        for images, labels in zip(torch.split(images_RB, size, 1), torch.split(labels_RB, size, 1), strict=True):
            noises = self._draw(self._program.draws)
            gradients, losses_R, logits_RBK = self._program(
                self._trained, self._untrained, images.contiguous(), labels.contiguous(), noises
            )
            for total, gradient in zip(self._gradients, gradients, strict=True):
                total.add_(gradient) if losses else total.copy_(gradient)
            losses.append(losses_R)
            logits.append(logits_RBK)
        if len(losses) == 1:
            return losses[0], logits[0]
        self._gradients_RP.div_(self._accumulation)
        return torch.stack(losses).mean(0), torch.cat(logits, dim=1)

    def _draw(self, draws: Sequence[Draw]) -> list[Tensor]:
        """Return the next random numbers of each run's own generator: a tensor (R, *shape) for each draw."""
        drawn = []
        for draw in draws:
            values = torch.ones(len(self._values_RP), *draw.shape, dtype=draw.dtype, device=self._device)
            for row, generator in enumerate(self._generators):
                draw.fill(values[row], generator)
            drawn.append(values)
        return drawn

    def _values_of_runs(self, trained: Mapping[str, Tensor] | None = None) -> tuple[Named, Named]:
        """Return parameters and buffers, (R, *shape) each, with the trained parameters of now or of another time."""
        named = {n: v[: self.num_runs] for n, v in {**(trained or self._trained), **self._untrained}.items()}
        buffers = {name: named.pop(name) for name, _ in self.network.named_buffers()}
        return named, buffers

    def evaluate(self, split: SplitName) -> list[dict[str, float]]:
        """Return loss and accuracy over a split for each run."""
        mirrored = self._configs[0].train.mirrored_evaluation
        state = (*self._values_of_runs(), getattr(self._data, split))
        values = evaluate_stacked(self.network, *state, mirrored, self._kind)
        columns = {name: values_R.tolist() for name, values_R in values.items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(self.num_runs)]

    def keep_weights(self) -> None:
        """Copy the weights."""
        self._kept_RP = self._values_RP.clone()

    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:
        """Return diagnostic -> layer -> value for each run, with the noise that its next step would draw."""
        due = diagnostics_due(self._diagnostics, heavy)
        if not due:
            return [{} for _ in range(self.num_runs)]
        state = StackedState(
            self.network, *self._values_of_runs(), self._next_noises(), self._moment(step), self._memories, self._kind
        )
        self._kept_RP = None
        measured = []
        for row, (values, remembered) in enumerate(measure_stacked(due, state, self._probe)):
            self._memories[row].update(remembered)
            measured.append({name: {role: v.item() for role, v in of.items()} for name, of in values.items()})
        return measured

    def _moment(self, step: int) -> Moment:
        kept = None if self._kept_RP is None else self._values_of_runs(self._layout.named(self._kept_RP))[0]
        batch = self._batch and Batch(*(part[: self.num_runs] for part in self._batch))
        rates = torch.tensor(self.learning_rate(max(step, 1)), device=self._device)
        return Moment(kept, batch, rates)

    def _next_noises(self) -> dict[int, list[Tensor]]:
        """Return number of samples -> the noise of each run in a forward pass over so many; no generator advances."""
        if not self._program.draws:
            return {}
        probe = self._probe
        batches = [probe.inputs, probe.few.inputs, *(batch.inputs for batch in probe.training_batches)]
        if self._batch is not None:
            batches.append(self._batch.inputs[0])
        noises = {}
        before = [generator.get_state() for generator in self._generators]
        for inputs in {len(inputs): inputs for inputs in batches}.values():
            drawn = self._draw(find_draws(self.network, inputs))
            noises[len(inputs)] = [values[: self.num_runs] for values in drawn]
            for generator, state in zip(self._generators, before, strict=True):
                generator.set_state(state)
        return noises

    def weights(self) -> list[dict[str, Tensor]]:
        """Return copies of the parameters and buffers of each run's network, on the CPU."""
        return [
            {name: values.cpu().clone(memory_format=torch.contiguous_format) for name, values in self._row(row).items()}
            for row in range(self.num_runs)
        ]

    def _row(self, row: int) -> dict[str, Tensor]:
        stacked = {**self._trained, **self._untrained}
        state = self.network.state_dict(keep_vars=True)
        names = {id(value): name for name, value in state.items() if name in stacked}  # one of each that are shared
        return {name: stacked[names[id(value)]][row] for name, value in state.items()}

    def drop(self, positions: Collection[int]) -> None:
        """Remove these runs from training: the others continue as a new cohort from their states."""
        kept = [row for row in range(self.num_runs) if row not in positions]
        states, configs = self.state(), [self._configs[row] for row in kept]
        self._allocate(configs)
        self.load_state([states[row] for row in kept])

    def state(self) -> list[dict[str, Any]]:
        """Return what each run needs to resume."""
        return [
            {
                "model": self._row(row),
                "optimizer": self._optimizer.state(row),
                "batches": self._streams[config.seed].state(),
                "noise": self._generators[row].get_state(),
                "diagnostics": self._memories[row],
            }
            for row, config in enumerate(self._configs)
        ]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Replace the state of each run."""
        for row, (config, state) in enumerate(zip(self._configs, states, strict=True)):
            self._fill_row(row, state["model"])
            self._optimizer.load_state(row, state["optimizer"])
            self._streams[config.seed].load_state(state["batches"])
            self._memories[row] = dict(state["diagnostics"])
            self._generators[row].set_state(state["noise"])
