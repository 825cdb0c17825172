"""TensorBoard itself, on the loopback address."""

from pathlib import Path

from tensorboard.program import TensorBoard


def serve(logdir: Path, port: int | None) -> str:
    """Start TensorBoard on the loopback address, in a thread of its own; return its address.

    Args:
        logdir: What it shows.
        port: Where; None: 6006, or the next that is free.
    """
    board = TensorBoard()
    arguments = ["tensorboard", "--logdir", str(logdir), "--host", "127.0.0.1", "--reload_interval", "5"]
    board.configure(argv=arguments + ([] if port is None else ["--port", str(port)]))
    return str(board.launch())
