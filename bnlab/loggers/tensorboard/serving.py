"""TensorBoard itself, on the loopback address, and which of its pages shows what."""

import contextlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tensorboard.program import TensorBoard, TensorBoardServerException, create_port_scanning_werkzeug_server

from bnlab.errors import ConfigError
from bnlab.loggers.tensorboard.bare_address import opening_on
from bnlab.loggers.tensorboard.first_page import read_first_page
from bnlab.loggers.tensorboard.joint_layout import plugins_with_a_joint_layout
from bnlab.runfolder.finding import is_sweep


def serve(logdir: Path, port: int | None) -> str:
    """Start TensorBoard on the loopback address, in a thread of its own; return its address.

    The address opens on Custom Scalars with the runs of `read_first_page`, and nothing is smoothed.

    Args:
        logdir: The folder whose event files it shows.
        port: The port to serve on; None: 6006, or the next that is free.

    Raises:
        ConfigError: The port is taken, or cannot be had.
    """

    def server(app: Any, flags: Any) -> Any:
        return create_port_scanning_werkzeug_server(opening_on(app, lambda: read_first_page(logdir)), flags)

    plugins = None if is_sweep(logdir) else plugins_with_a_joint_layout(lambda: read_first_page(logdir).pattern)
    board = TensorBoard(plugins=plugins, server_class=server)
    arguments = ["tensorboard", "--logdir", str(logdir), "--host", "127.0.0.1", "--reload_interval", "5"]
    board.configure(argv=arguments + ([] if port is None else ["--port", str(port)]))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it announces the way that it reads, four lines each time
            return str(board.launch())
    except TensorBoardServerException as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--port {port} cannot be served on: {said}. Leave --port out for one that is free."
        ) from error


def sweep_pages(address: str, by_norm: bool) -> dict[str, str]:
    """Return the other pages of a sweep that TensorBoard shows, by what can be seen there.

    Args:
        address: Of TensorBoard on the sweep's folder.
        by_norm: Its arms are its norms, so that a run's name says which arm it belongs to.

    Example:
        >>> sweep_pages("http://127.0.0.1:6006/", by_norm=True)["every run, one row each"]
        'http://127.0.0.1:6006/#hparams'
    """
    page = quote("^[.]$")
    curves = f"{address}?smoothing=0&tagFilter={quote('^(eval|train)/')}"
    color = f"&runColorGroup={quote('regex:^(?:arms/)?([^-/]+)')}" if by_norm else ""
    return {
        "arms: every curve": f"{address}#timeseries",
        "arms: the best of each": f"{address}#text&regexInput={page}",
        "every run, one row each": f"{address}#hparams",
        "every run, colored by arm" if by_norm else "every run": f"{curves}{color}#timeseries",
    }
