"""What the caller has set does not reach the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_colors_and_width_of_the_callers_screen_change_no_test() -> None:
    odd = {"FORCE_COLOR": "1", "GITHUB_ACTIONS": "true", "COLUMNS": "50", "TERMINAL_WIDTH": "50", "LINES": "10"}
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", "narrow_window and 160"]
    answer = subprocess.run(
        [sys.executable, *words, f"--rootdir={TESTS.parent}", TESTS / "cli" / "test_list_runs.py"],
        env={**os.environ, **odd},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
