"""Has a launcher of Hydra's train parts: a plugin that bnlab has no backend for, named by somebody's own file."""

import contextlib
import functools
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from bnlab.config.composition import initialized_hydra
from bnlab.sweeps.backends.backend import END_WITHIN_S, PartEnded, in_one_line
from bnlab.sweeps.parts import part_path
from bnlab.sweeps.worker import train_part


class HydraBackend:
    """Trains parts by Hydra's launcher, all that are submitted together as one batch.

    A launcher returns only when all its jobs have ended: it runs in a thread, and the parts of a batch end together.

    Args:
        words: Overrides of conf/launch.yaml that choose the launcher, such as ``hydra/launcher=mine``.
    """

    has_process_per_part: ClassVar[bool] = True

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._batches: dict[threading.Thread, list[Path]] = {}
        self._deaths: dict[threading.Thread, str] = {}

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; see `Backend`."""
        thread = threading.Thread(target=self._launch, args=(list(parts),), daemon=True)
        self._batches[thread] = list(parts)
        thread.start()

    def watch(self, timeout_s: float) -> list[PartEnded]:
        """Return the parts of the batches that have ended; see `Backend`."""
        for thread in self._batches:
            thread.join(timeout_s)
            break
        ended = [thread for thread in self._batches if not thread.is_alive()]
        return [PartEnded(part, self._deaths.get(thread)) for thread in ended for part in self._batches.pop(thread)]

    def cancel(self, *, at_once: bool = False) -> None:  # noqa: ARG002
        """Wait until the parts have ended; see `Backend`. Their workers see the file `HALT`; Hydra cannot tell them."""
        for thread in self._batches:
            thread.join(END_WITHIN_S)
        self._batches.clear()

    def close(self) -> None:
        """Hold nothing."""

    def _launch(self, parts: Sequence[Path]) -> None:
        theirs = HydraConfig.instance().cfg
        try:
            with contextlib.redirect_stdout(sys.stderr), initialized_hydra():  # standard output is for results
                self._launch_by_hydra(parts)
        except Exception as error:  # a launcher's own: a worker that was killed, a cluster that is gone
            self._deaths[threading.current_thread()] = in_one_line(error)
        finally:
            HydraConfig.instance().cfg = theirs

    def _launch_by_hydra(self, parts: Sequence[Path]) -> None:
        from hydra._internal.callbacks import Callbacks  # noqa: PLC0415  (launchers ask for it; no public door to it)

        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        folder = parts[0].parent
        words = [f"folder={quoted(folder.as_posix())}", *self._words]
        config = hydra.compose_config("launch", words, run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
        job = functools.partial(_train, folder)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)
        numbers = [part.stem.removeprefix("part-") for part in parts]
        for ended in launcher.launch([[words[0], f"part={number}"] for number in numbers], 0):
            _ = ended.return_value  # raises what the job raised


def _train(folder: Path, config: DictConfig) -> None:
    train_part(part_path(folder, int(config.part)))


def quoted(text: str) -> str:
    r"""Return a text as a word that Hydra and OmegaConf read as it is: no end of a quote in it, and no interpolation.

    Example:
        >>> quoted("it's"), quoted("a ${b}")
        ("'it\\'s'", "'a \\${b}'")
    """
    no_interpolation = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(no_interpolation, Quote.single).with_quotes()
