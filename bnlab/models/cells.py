"""Recurrent cells: a plain one and one with long short-term memory, each with its norms inside.

Shape letters: N batch, T time steps, F features of a step, H hidden units, A samples whose sequence has not ended, G
values that a cell needs of an input: H, or 4 H for the gates of an LSTM, R = N * T rows.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from bnlab.models.blocks import BlockBuilder, NoActivation
from bnlab.models.step_norms import Place, norm_of_steps, normalized
from bnlab.norms.norm import Norm
from bnlab.schema_models import LSTMConfig, RNNConfig


class Cell(nn.Module):
    """One recurrent layer: it goes through the time steps of a sequence, and keeps one or two states.

    Attributes:
        num_states: How many values of H units it keeps from step to step; the first is its output.
        width: H, the number of hidden units.
        input: The linear map of an input, computed for all time steps at once.
    """

    num_states: ClassVar[int]
    width: int
    input: nn.Module

    @abstractmethod
    def step(self, input_AG: Tensor, states: list[Tensor], place: Place) -> list[Tensor]:
        """Return the states after a time step, (A, H) each.

        Args:
            input_AG: The linear map of the input.
            states: The states before, (A, H) each.
            place: The time step.
        """

    def inputs(self, x_RF: Tensor) -> Tensor:
        """Return what the cell needs of the inputs of all steps, (N * T, G).

        Args:
            x_RF: The inputs of all steps of all samples, as rows.
        """
        return cast("Tensor", self.input(x_RF))

    @abstractmethod
    def norms_in_cell(self) -> Iterator[nn.Module]:
        """Yield the norms, each as `norm_of_steps` returned it."""

    def forward(self, x_NTF: Tensor, length_N: Tensor | None) -> Tensor:
        """Return the output after each time step, (N, T, H).

        A sequence that has ended is left out of all further steps: its states stay as they are, and no
        statistic counts it.

        Args:
            x_NTF: The sequences.
            length_N: The length of each sequence; None: all have the same.
        """
        num_samples, num_steps = x_NTF.shape[:2]
        input_RG = self.inputs(x_NTF.flatten(0, 1))
        input_NTG = input_RG.view(num_samples, num_steps, input_RG.shape[1])
        states = [input_NTG.new_zeros(num_samples, self.width) for _ in range(self.num_states)]
        outputs = []
        # not input_NTG[:, step]: its backward fills a tensor of all steps with 0 at each step
        for step, input_NG in enumerate(input_NTG.unbind(1)):
            place = Place(step, num_samples)
            if length_N is None:
                states = self.step(input_NG, states, place)
            else:
                running_A = (length_N > step).nonzero()[:, 0]
                if len(running_A):
                    moved = self.step(input_NG[running_A], [state[running_A] for state in states], place)
                    states = [
                        old.to(new.dtype).index_copy(0, running_A, new) for old, new in zip(states, moved, strict=True)
                    ]
            outputs.append(states[0])
        return torch.stack(outputs, 1)


class RNNCell(Cell):
    """A plain recurrent layer, with one norm: that of the summed inputs of each unit.

        h_t = f(norm(W_x x_t + W_h h_t-1))    placement=before
        h_t = norm(f(W_x x_t + W_h h_t-1))    placement=after

    Linear maps ``input`` and ``state``, norm ``norm``, activation ``activation``. The input has a bias, unless a norm
    that subtracts the mean stands right behind.

    Source:
        Elman 1990, "Finding structure in time". The norm: Ba, Kiros & Hinton 2016, arXiv:1607.06450, equation 4.
    """

    num_states: ClassVar[int] = 1

    def __init__(self, config: RNNConfig, num_inputs: int, num_steps: int, blocks: BlockBuilder) -> None:
        super().__init__()
        self.width = config.width
        norm = cast("Norm", blocks.norm(config.width))
        self.is_before = blocks.placement != "after"
        bias = not (self.is_before and norm.subtracts_mean)
        self.input = blocks.transformed(nn.Linear(num_inputs, config.width, bias=bias), config.width)
        self.state = blocks.transformed(nn.Linear(config.width, config.width, bias=False), config.width)
        self.norm = norm_of_steps(norm, num_steps, per_step=config.norm_per_step)
        replaced = self.is_before and norm.replaces_activation
        self.activation = NoActivation() if replaced else blocks.nonlinearity()

    def step(self, input_AG: Tensor, states: list[Tensor], place: Place) -> list[Tensor]:
        """Return the states after a time step."""
        summed_AH = input_AG + self.state(states[0])
        if self.is_before:
            return [self.activation(normalized(self.norm, summed_AH, place))]
        return [normalized(self.norm, self.activation(summed_AH), place)]

    def norms_in_cell(self) -> Iterator[nn.Module]:
        """Yield the norm."""
        yield self.norm


class LSTMCell(Cell):
    """A layer with a memory and three gates, and with norms of both linear maps and of the memory.

        i, f, g, o = norm(W_x x_t) + norm(W_h h_t-1) + b
        c_t = sigmoid(f) c_t-1 + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(norm(c_t))

    Linear maps ``input`` and ``state``, norms ``input_norm``, ``state_norm`` and ``cell_norm``, activations
    ``candidate`` and ``cell``: ``model.activation`` in place of tanh; the gates are sigmoids in any case. The bias b
    belongs to the cell in all arms, and is 1 for the forget gate at the start, else 0.

    Where the first steps of all sequences are equal, as the black rows of MNIST are, the states of a batch have a
    variance of nearly 0, and BatchNorm divides by its root: on mnist_5k at learning rate 1 and norm.eps=1e-5 the loss
    grows (18% right after 300 steps, seed 0), at norm.eps=0.1 it falls (87% after 150).

    Source:
        Hochreiter & Schmidhuber 1997, "Long short-term memory". The norms: Ba, Kiros & Hinton 2016, arXiv:1607.06450,
        equations 20 to 22, and Cooijmans et al. 2016, arXiv:1603.09025, equations 6 to 8. The forget gate's bias: Gers,
        Schmidhuber & Cummins 2000, "Learning to forget"; Jozefowicz, Zaremba & Sutskever 2015, "An empirical
        exploration of recurrent network architectures".
    """

    num_states: ClassVar[int] = 2

    def __init__(self, config: LSTMConfig, num_inputs: int, num_steps: int, blocks: BlockBuilder) -> None:
        super().__init__()
        width, gates = config.width, 4 * config.width
        self.width = width

        def norm(num_channels: int) -> nn.Module:
            return norm_of_steps(blocks.norm(num_channels), num_steps, per_step=config.norm_per_step)

        self.input = blocks.transformed(nn.Linear(num_inputs, gates, bias=False), gates)
        self.input_norm = norm(gates)
        # a norm of single rows gives the same if it gets those of all steps in one call, which saves T - 1 calls
        self.normalizes_inputs_at_once = getattr(self.input_norm, "formula", None) in {"group", "layer", "rms"}
        self.state = blocks.transformed(nn.Linear(width, gates, bias=False), gates)
        self.state_norm = norm(gates)
        self.bias = nn.Parameter(torch.zeros(gates))
        self.candidate = blocks.nonlinearity()
        self.cell_norm = norm(width)
        self.cell = blocks.nonlinearity()

    def inputs(self, x_RF: Tensor) -> Tensor:
        """Return the linear map of the inputs, and its norm where that is a norm of single rows."""
        mapped_RG = self.input(x_RF)
        return cast("Tensor", self.input_norm(mapped_RG) if self.normalizes_inputs_at_once else mapped_RG)

    def step(self, input_AG: Tensor, states: list[Tensor], place: Place) -> list[Tensor]:
        """Return the states after a time step."""
        output_AH, memory_AH = states
        if not self.normalizes_inputs_at_once:
            input_AG = normalized(self.input_norm, input_AG, place)
        summed_AG = input_AG + normalized(self.state_norm, self.state(output_AH), place)
        i, f, g, o = (summed_AG + self.bias).chunk(4, 1)
        memory_AH = f.sigmoid() * memory_AH + i.sigmoid() * self.candidate(g)
        return [o.sigmoid() * self.cell(normalized(self.cell_norm, memory_AH, place)), memory_AH]

    def norms_in_cell(self) -> Iterator[nn.Module]:
        """Yield the three norms."""
        yield from (self.input_norm, self.state_norm, self.cell_norm)
