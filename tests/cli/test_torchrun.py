"""`bnlab train`, started by torchrun as docs/machines.md shows it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import processes_that_end
from typed_lines import ROOT

import bnlab

SHORT = ["train.batch_size=20", "train.steps=60", "train.log_every=10", "train.eval_every=20", "model.width=16"]


def typed() -> list[str]:
    """Return the line of the page, as words; torchrun is a module here, since it may not be on the path."""
    (line,) = re.findall(r"^torchrun .*$", (ROOT / "docs" / "machines.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = shlex.split(line)
    assert words[words.index("bnlab") :][:2] == ["bnlab", "train"]
    start, end = words[: words.index("--no-python")], words[words.index("bnlab") + 1 :]
    # a free port: another torchrun may hold the usual one
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *start[1:], "-m", "bnlab.cli.app", *end]


@pytest.mark.slow
def test_a_stop_of_one_process_stops_all_and_the_same_command_goes_on_to_the_result_of_one_process(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BNLAB_RUNS": str(tmp_path / "shared")}
    command = [*typed(), *SHORT, "train.checkpoint_every=1", "--json"]
    with processes_that_end() as start:
        process = start(*command, env=environment)
        while not list((tmp_path / "shared").glob("single/*/checkpoint.pt")):
            assert process.poll() is None
            time.sleep(0.05)
        psutil.Process(process.pid).children()[-1].send_signal(signal.SIGTERM)
        process.wait()
    (manifest,) = (tmp_path / "shared").glob("single/*/manifest.json")
    assert json.loads(manifest.read_text())["status"] == "interrupted"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "it resumes from its checkpoint at step" in done.stderr
    found = json.loads(done.stdout)
    alone = bnlab.train(["data=digits", "norm.sync=true", *SHORT], runs=tmp_path / "alone")
    assert (found["status"], found["steps"]) == ("finished", 60)
    assert found["test_loss"] == pytest.approx(alone.test_loss, rel=1e-4)
    assert found["train_loss"] == pytest.approx(alone.train_loss, rel=1e-4)
