"""Every picture of README and docs/ is made by `scripts/make_pictures`, from the code that is there."""

import importlib.util
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def shown() -> set[str]:
    """Return the names of all pictures that pages show."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return {Path(target).name for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", text)}


def test_every_picture_that_is_shown_is_made_and_there_is_no_other() -> None:
    made = set(re.findall(r"docs/([\w-]+\.(?:svg|png))", (SCRIPTS / "make_pictures").read_text(encoding="utf-8")))
    assert shown() == {path.name for path in (ROOT / "docs").iterdir() if path.suffix in {".svg", ".png"}}
    assert shown() <= made


def test_the_script_that_makes_them_has_no_fault_of_grammar() -> None:
    subprocess.run(["bash", "-n", SCRIPTS / "make_pictures"], check=True)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="pip install playwright")
def test_the_picture_of_a_sweep_is_taken(tmp_path: Path) -> None:
    """In a process of its own, since TensorBoard's threads have no end."""
    words = ["norm=batch,none", "data=synthetic", "model.width=16", "train.steps=20", "name=small"]
    command = [sys.executable, "-m", "bnlab.cli.app", "sweep", *words, "--runs", str(tmp_path), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    program = f"""
from pathlib import Path
from playwright.sync_api import sync_playwright
import draw_dashboards
with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path={CHROMIUM!r}, args=["--no-sandbox"])
    draw_dashboards.take(browser, Path({str(tmp_path / "small")!r}), "sweep-dashboard", Path({str(tmp_path)!r}))
    browser.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=SCRIPTS)
    png = (tmp_path / "sweep-dashboard.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (1500, 1250)
