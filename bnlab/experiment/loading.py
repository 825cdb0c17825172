"""A run's network, back from its folder."""

from pathlib import Path

from pydantic import ValidationError
from torch import nn

from bnlab.config.complaints import say_what_is_wrong
from bnlab.errors import RunError
from bnlab.models.catalog import build_network
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import find_run
from bnlab.schema import RunConfig
from bnlab.training.checkpoint import read_checkpoint


def load_model(run: str | Path) -> nn.Module:
    """Return a run's network with its final weights, in eval mode, on the CPU.

    Args:
        run: Its folder, or its name among all runs.

    Raises:
        ConfigError: There is no such folder, and not one run of that name.
        RunError: It is not a run's folder, or has no weights.
    """
    folder = RunFolder(find_run(run))
    try:
        config = RunConfig.model_validate(folder.read_config())
    except ValidationError as error:
        raise RunError(
            f"{run} was made by another version of bnlab: {say_what_is_wrong(error)}\n"
            "Its checkpoint.pt holds the weights all the same: torch.load(path, weights_only=True)."
        ) from error
    checkpoint = read_checkpoint(folder.checkpoint_path)
    shape = folder.read_manifest()["data"]
    model = build_network(config, tuple(shape["input_shape"]), shape["num_classes"])
    model.load_state_dict(checkpoint["model"])
    return model.eval()
