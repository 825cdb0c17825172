"""Loads the network of a run from its folder."""

import logging
import os
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from bnlab.config.complaints import say_what_is_wrong
from bnlab.errors import ConfigError, DamagedRunError, RunError
from bnlab.identity.changes import changed_code
from bnlab.models.catalog import build_network
from bnlab.runfolder.cures import how_to_train_again
from bnlab.runfolder.finding import find_run
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.run_facts import other_settings
from bnlab.schema import RunConfig
from bnlab.training.checkpoint import read_checkpoint

_log = logging.getLogger("bnlab")


def load_model(run: str | Path) -> nn.Module:
    """Return a run's network with its final weights, in eval mode, on the CPU.

    Where the code of its norm has changed since it was trained, a warning is logged.

    Args:
        run: The folder of the run, or its name among all runs.

    Raises:
        ConfigError: No run has this name, or several have.
        RunError: The folder is not that of a run, or has no weights.
        DamagedRunError: The manifest or the weights are damaged.
    """
    folder = RunFolder(Path(run).absolute()) if Path(run).is_dir() else find_run(run)
    try:
        config = _read_config(folder)
    except ValidationError as error:
        raise RunError(
            f"{run} was trained by another version of bnlab: {say_what_is_wrong(error)}\n"
            "Its checkpoint.pt holds the weights all the same: torch.load(path, weights_only=True)."
        ) from error
    try:
        checkpoint = read_checkpoint(folder.checkpoint_path)
    except RunError as error:
        if not config.train.keep_weights:
            raise RunError(
                f"{folder.path.name} was trained with train.keep_weights=false, and has no weights. Train it again "
                "with train.keep_weights=true and --again."
            ) from error
        raise RunError(f"{str(error).removesuffix(' Train the run again.')} {how_to_train_again(folder)}") from error
    try:
        shape = folder.read_manifest()["data"]
        input_shape, num_classes = tuple(int(size) for size in shape["input_shape"]), int(shape["num_classes"])
        model = build_network(config, input_shape, num_classes)
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's, for sizes out of range
        raise DamagedRunError(
            f"{folder.path}{os.sep}manifest.json does not say the shape of the run's data. {how_to_train_again(folder)}"
        ) from error
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        raise DamagedRunError(
            f"{folder.checkpoint_path} does not fit config.yaml: one of them was changed. {how_to_train_again(folder)}"
        ) from error
    if changed := changed_code(folder.read_manifest(), config):
        _log.warning(
            "%s was trained with other code of %s: the network may give other numbers. To be sure, train it again.",
            folder.path.name,
            ", ".join(changed),
        )
    if "state_outside_buffers" in config.accept:
        _log.warning(
            "%s was trained with accept=[state_outside_buffers]: what its norm keeps outside of buffers is not loaded, "
            "and the network may give other numbers.",
            folder.path.name,
        )
    return model.eval()


def _read_config(folder: RunFolder) -> RunConfig:
    """Return config.yaml, which must be what the run was trained with.

    Raises:
        ValidationError: It is of another version.
        DamagedRunError: It is not, or config.yaml or manifest.json cannot be read.
    """
    try:
        settings, trained = folder.read_config(), folder.read_manifest().get("config", {})
    except RunError as error:
        if not (folder.path / "manifest.json").exists():
            raise DamagedRunError(f"{folder.path} is not a run's folder: {error}") from error
        raise DamagedRunError(f"{error}. {how_to_train_again(folder)}") from error
    config = RunConfig.model_validate(settings)
    if wrong := other_settings(settings, trained):
        raise DamagedRunError(f"{folder.path}: {wrong}. Undo that. Or: {how_to_train_again(folder)}")
    return config
