"""A TensorBoard that really runs, and what its routes answer."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import processes_that_end

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Board:
    address: str

    def get(self, route: str, **query: str) -> Any:
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.address}{route}{words}", timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def post(self, route: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.address}{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def wait_for(self, route: str, is_there: Callable[[Any], object], **query: str) -> Any:
        """Ask until the answer is right, or patience ends: it reads files in the background."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(urllib.error.HTTPError):  # 404 of a tag it has not read yet
                if is_there(answer := self.get(route, **query)) or time.monotonic() > deadline:
                    return answer
            assert time.monotonic() < deadline, f"{route} was never there"
            time.sleep(0.1)

    def hparams(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The columns and the rows of the HParams table."""
        experiment = self.post("data/plugin/hparams/experiment", {"hparamsLimit": 0})
        statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        body = {"startIndex": 0, "sliceSize": 10_000, "allowedStatuses": statuses, "colParams": []}
        rows = self.post("data/plugin/hparams/session_groups", body)["sessionGroups"]
        return [info["name"] for info in experiment["hparamInfos"]], rows

    def points(self, run: str, tag: str) -> list[tuple[int, float]]:
        """A curve, as (step, value)."""
        answer = self.get("data/plugin/scalars/scalars", run=run, tag=tag)
        return [(step, value) for _, step, value in answer]


@contextlib.contextmanager
def live_tensorboard(root: Path, *, in_python: bool = False) -> Iterator[Board]:
    """Start TensorBoard on a free port, in a process of its own: it has no way to stop its threads.

    Args:
        root: What it shows.
        in_python: Let it read files as it does on Windows, not by its server in Rust.
    """
    if in_python:
        options = ["--logdir", str(root), "--port", "0", "--load_fast", "false", "--reload_interval", "1"]
        program = (
            f"from tensorboard.program import TensorBoard; b = TensorBoard(); b.configure(argv=['', *{options!r}])\n"
        )
        program += "print(b.launch(), flush=True); input()"
    else:
        program = "from pathlib import Path; from bnlab.loggers.tensorboard.serving import serve\n"
        program += f"print(serve(Path({str(root)!r}), 0), flush=True); input()"
    command = [sys.executable, "-c", program]
    with processes_that_end() as start:
        process = start(*command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        yield Board(process.stdout.readline().strip())
