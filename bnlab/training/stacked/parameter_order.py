"""The order of a network's parameters in a row, and the optimizer that fits it."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from bnlab.models.network import Network
from bnlab.schema import AdamConfig, AnyOptimConfig, MuonConfig, SGDConfig
from bnlab.training.muon import matrices_decayed_and_undecayed
from bnlab.training.optim import decayed_and_undecayed
from bnlab.training.stacked.muon import StackedMuon
from bnlab.training.stacked.optim import RowLayout, StackedOptimizer


class ParameterOrder:
    """The trained parameters in the order of a row: matrices that are Muon's, others with weight decay, those without.

    Args:
        network: A network of the architecture; its parameters that require no gradient are not trained.
        config: The optimizer of the first run; the others differ from it in numbers only.

    Attributes:
        layout: The places of the parameters in a row.
    """

    def __init__(self, network: Network, config: AnyOptimConfig) -> None:
        matrices: list[str] = []
        if isinstance(config, MuonConfig):
            matrices, decayed, undecayed = matrices_decayed_and_undecayed(
                network, network.norms, network.weights, config
            )
        else:
            decayed, undecayed = decayed_and_undecayed(network, network.norms, config)
        self.layout = RowLayout({n: network.get_parameter(n).shape for n in (*matrices, *decayed, *undecayed)})
        self._num_matrices = len(matrices)
        self._num_decayed = sum(network.get_parameter(name).numel() for name in (*matrices, *decayed))

    def build_optimizer(
        self, configs: Sequence[AnyOptimConfig], values_RP: Tensor, gradients_RP: Tensor
    ) -> StackedOptimizer | StackedMuon:
        """Build the optimizer of rows in this order.

        Args:
            configs: The settings of each row.
            values_RP: One row of parameters per run; updated in place.
            gradients_RP: The gradients, which the caller fills before each step.
        """
        if isinstance(configs[0], MuonConfig):
            muons = cast("Sequence[MuonConfig]", configs)
            return StackedMuon(self.layout, self._num_matrices, self._num_decayed, muons, values_RP, gradients_RP)
        others = cast("Sequence[SGDConfig | AdamConfig]", configs)
        return StackedOptimizer(self.layout, self._num_decayed, others, values_RP, gradients_RP)
