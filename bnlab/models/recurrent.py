"""Recurrent networks: an image as a sequence of rows or of pixels, with norms inside the cell.

Shape letters: N batch, T time steps, F features of a step, H hidden units.
"""

from collections import OrderedDict
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder, Dropout
from bnlab.models.cells import Cell, LSTMCell, RNNCell
from bnlab.models.network import Network, free_scale
from bnlab.models.sequences import Sequences, lengths_of
from bnlab.models.step_norms import at_step, set_scale
from bnlab.norms.norm import FreeScale
from bnlab.schema_models import LSTMConfig, RNNConfig


class Recurrent(Network):
    """A stack of cells, ``hidden1`` ..., that reads an image as a sequence; ``output`` gets the last output.

    Dropout is between the layers and before the output, not inside of a cell (Zaremba et al. 2014, arXiv:1409.2329).

    Args:
        config: The settings of the network.
        input_shape: The shape of one image: (C, H, W) or (D,).
        num_classes: The number of logits per image.
        blocks: Builds norms, linear maps and activations.

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees the features of all steps as rows, (N * T, F).
    """

    cell: ClassVar[type[RNNCell] | type[LSTMCell]]

    def __init__(
        self, config: RNNConfig | LSTMConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        seed = config.permute_seed if config.permute else None
        sequences = Sequences(config.sequence, input_shape, config.name, seed)
        body = OrderedDict[str, nn.Module]()
        num_inputs = sequences.num_features
        for number in range(1, config.depth + 1):
            body[f"hidden{number}"] = self.cell(config, num_inputs, sequences.num_steps, blocks)  # type: ignore[arg-type]
            num_inputs = config.width
        layers = list(body)
        if config.dropout:
            for name in layers:
                body[f"{name}_dropout"] = Dropout(config.dropout)
        super().__init__(body, nn.Linear(num_inputs, num_classes), blocks.input_norm(sequences.num_features))
        self.sequences = sequences
        self.layer_names = tuple(layers)
        self.skips_padding = config.skip_padding
        self.norm_scale = config.norm_scale
        self.rows_per_sample = sequences.num_steps

    def finish_initialization(self) -> None:
        """Set the scales of the norms, if the config names a value."""
        for layer in self.layers:
            for norm in layer.norms_in_cell() if self.norm_scale is not None else ():
                set_scale(norm, cast("float", self.norm_scale))

    @property
    def layers(self) -> list[Cell]:
        """The cells, in their order."""
        return [cast("Cell", getattr(self, name)) for name in self.layer_names]

    def features(self, x: Tensor) -> Tensor:
        """Return the output of the last layer after the last step of each sequence, (N, H)."""
        x_NTF = self.sequences(x)
        # on the meta device there are no values: a pass there tries shapes, and takes all sequences for whole
        length_N = lengths_of(x_NTF) if self.skips_padding and not x.is_meta else None
        if hasattr(self, "input"):
            x_NTF = self._normalized_input(x_NTF, length_N)
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            x_NTF = layer(x_NTF, length_N)
            if hasattr(self, f"{name}_dropout"):
                x_NTF = getattr(self, f"{name}_dropout")(x_NTF)
        return cast("Tensor", x_NTF[:, -1])

    def _normalized_input(self, x_NTF: Tensor, length_N: Tensor | None) -> Tensor:
        if length_N is None:
            return cast("Tensor", self.input(x_NTF.flatten(0, 1))).view_as(x_NTF)
        is_there_NT = torch.arange(x_NTF.shape[1], device=x_NTF.device) < length_N.unsqueeze(1)
        y_NTF = x_NTF.clone()
        y_NTF[is_there_NT] = self.input(x_NTF[is_there_NT])
        return y_NTF


class RNN(Recurrent):
    """A plain recurrent net: ``hidden1.input``, ``hidden1.state``, ``hidden1.norm``, ``hidden1.activation`` ...

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees the features of all steps as rows, (N * T, F).
    """

    cell: ClassVar[type[RNNCell] | type[LSTMCell]] = RNNCell


class LSTM(Recurrent):
    """A net with long short-term memory: ``hidden1.input``, ``hidden1.state``, three norms, two activations ...

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees the features of all steps as rows, (N * T, F).

    Raises:
        ConfigError: The placement is ``after``.
    """

    cell: ClassVar[type[RNNCell] | type[LSTMCell]] = LSTMCell

    def __init__(
        self, config: LSTMConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        if blocks.placement == "after":
            raise ConfigError(
                "model=lstm has its norms before the gates and before the activation of the memory: placement=after "
                "cannot be. Use placement=before, or model=rnn."
            )
        super().__init__(config, input_shape, num_classes, blocks)
        self.small_roles = frozenset(self.linears)  # sigmoids stand behind three quarters of the units

    def finish_initialization(self) -> None:
        """Set the bias of the forget gates to 1, and the scales of the norms if the config names a value."""
        super().finish_initialization()
        for layer in self.layers:
            cast("nn.Parameter", layer.bias).zero_()[layer.width : 2 * layer.width] = 1

    @property
    def scale_invariant_weights(self) -> dict[str, FreeScale]:
        """As in other networks; the norms that count are those right behind the linear maps of input and state."""
        free = dict(super().scale_invariant_weights)
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            for part in ("input", "state"):
                norm = at_step(getattr(layer, f"{part}_norm"), 0)
                found = free_scale(getattr(layer, part), norm)
                if found is not None:
                    free[f"{name}.{part}"] = found
        return free
