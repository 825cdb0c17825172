"""Take the pictures of TensorBoard in docs/: what the address that `bnlab dashboard` prints opens on.

    python scripts/draw_dashboards.py               # trains the runs of README and docs/sweeps.md first (minutes)
    python scripts/draw_dashboards.py --runs DIR    # the same, with runs kept in DIR and not trained twice

Chromium is needed, and the Python package playwright, which drives it.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from readme_measurements import COMMANDS, HERO, ROOT, run

from bnlab.loggers.tensorboard.serving import serve
from bnlab.report.dashboard import refresh_dashboard
from bnlab.runfolder.finding import is_sweep

SIZES = {"dashboard": (1760, 860), "sweep-dashboard": (1500, 1250)}
"""Width and height of each picture, in pixels: all charts of a page, and no more."""

PATIENCE_MS = 180_000
CARDS = "tf-custom-scalar-multi-line-chart-card, tf-custom-scalar-margin-chart-card"


def take(browser: Any, folder: Path, name: str, docs: Path) -> None:
    """Take the picture of a folder's first page.

    Args:
        browser: Chromium, as playwright starts it.
        folder: What is shown; the page says its name, so it is taken as it stands from the folder above it.
        name: The name of the picture.
        docs: The folder that it is written to.
    """
    if is_sweep(folder):
        refresh_dashboard(folder, None)
    os.chdir(folder.parent)
    address = serve(Path(folder.name), 0)
    width, height = SIZES[name]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.locator(CARDS).first.wait_for()
    for card in page.locator(CARDS).all():
        card.locator("path.line[d]").first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)  # curves move to their place when the axes have changed
    page.screenshot(path=docs / f"{name}.png")
    page.close()


def main() -> None:
    """Train what is missing, and take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder; else they are removed")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        runs, alone = (options.runs or Path(place) / "all").absolute(), Path(place) / "runs"
        run(HERO, alone)  # what a reader of README has, and nothing beside it
        run(COMMANDS["sigmoid"], runs)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take(browser, alone, "dashboard", ROOT / "docs")
        take(browser, runs / "sigmoid", "sweep-dashboard", ROOT / "docs")
        browser.close()
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
