"""Which parameters of a network a run trains, as ``train.parameters`` says. The others keep their initial values."""

from collections.abc import Mapping

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from bnlab.errors import ConfigError
from bnlab.models.network import Network
from bnlab.schema import MuonConfig, RunConfig


def names_of_norms(model: nn.Module, norms: Mapping[str, nn.Module]) -> set[str]:
    """Return the names of the parameters that belong to norms, those that a norm adds to weights among them.

    Args:
        model: The network whose parameters are sorted.
        norms: The norms of the network by role.
    """
    of_norms = {id(parameter) for norm in norms.values() for parameter in norm.parameters()}
    return {
        name
        for name, parameter in model.named_parameters()
        if id(parameter) in of_norms or (".parametrizations." in name and not name.endswith(".original"))
    }


_MAPS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)


def names_of_map_weights(model: nn.Module) -> set[str]:
    """Return the names of the trained weights of linear maps, those inside torch's attention and recurrent layers too.

    Parameters that a network makes by itself are none of them: class tokens, positions, embeddings, slopes of PReLU.

    Args:
        model: The network whose parameters are sorted.
    """
    weights: set[int] = set()
    for module in model.modules():
        if not isinstance(module, _MAPS):
            continue
        weights |= {id(parameter) for name, parameter in module.named_parameters(recurse=False) if "weight" in name}
        if is_parametrized(module, "weight"):
            weights.add(id(getattr(module.get_submodule("parametrizations.weight"), "original", None)))
    return {name for name, parameter in model.named_parameters() if id(parameter) in weights}


def freeze_untrained(model: Network, config: RunConfig) -> None:
    """Switch off the gradients of the parameters that a run does not train; optimizers leave these alone.

    With ``train.parameters=norms`` only the parameters of norms are trained, with ``output`` only weights and bias of
    the last linear map, with ``norms_and_output`` both. Biases of other linear maps belong to these maps. Buffers are
    no parameters: running statistics are updated in any case.

    Args:
        model: The network; the others of its parameters are left as they are.
        config: The settings of the run; ``train.parameters``, and for a message norm and optimizer, are used.

    Raises:
        ConfigError: Nothing is left to train, for the whole optimizer or for its part that is Muon.

    Source:
        Training only the parameters of norms: Frankle, Schwab & Morcos 2021, arXiv:2003.00152.
    """
    which = config.train.parameters
    if which == "all":
        return
    of_norms = names_of_norms(model, model.norms)
    last = {id(parameter) for parameter in model.output.parameters()}
    of_output = {name for name, parameter in model.named_parameters() if id(parameter) in last}
    chosen = {"norms": of_norms, "output": of_output, "norms_and_output": of_norms | of_output}[which]
    trained = {name for name in chosen if model.get_parameter(name).requires_grad}
    if not trained:
        raise ConfigError(
            f"train.parameters={which} leaves nothing to train: norm={config.norm.name} has no parameters to train "
            "here. Use train.parameters=output, or a norm with parameters (norm=batch norm.affine=true)."
        )
    if isinstance(config.optim, MuonConfig):
        raise ConfigError(
            f"train.parameters={which} leaves optim=muon nothing to train: it trains the weights of hidden layers. "
            "Use optim=adamw."
        )
    for name, parameter in model.named_parameters():
        if name not in trained:
            parameter.requires_grad_(False)
