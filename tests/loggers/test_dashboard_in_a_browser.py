"""What `bnlab dashboard` opens on, in headless Chromium: boxes, charts and their curves, as they stand in the page.

Needed are Debian's package chromium and the Python package playwright, which drives it; else these tests are skipped.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import run_folder, sweep_of
from live_board import live_tensorboard
from written_events import write_runs

from bnlab.loggers.tensorboard.first_page import FEW
from bnlab.loggers.tensorboard.sweep_dashboard import write_sweep_dashboard

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]

PATIENCE_MS = 180_000

CHARTS = """() => [...deep('tf-category-paginated-view')].map(part => [
    deep('.heading .name', part)[0].textContent.trim(),
    deep('tf-custom-scalar-multi-line-chart-card, tf-custom-scalar-margin-chart-card', part).map(card => [
        deep('.heading-label', card)[0].textContent.trim(),
        deep('path.line', card).filter(one => one.getAttribute('d')).length,
        Math.round(card.getBoundingClientRect().top),
    ]),
])"""
"""All parts of the Custom Scalars page; of each, the title, the curves and the top edge of its charts, as shown."""

DEEP = """window.deep = (selector, root = document) => {
    const found = [...root.querySelectorAll(selector)];
    for (const one of root.querySelectorAll('*')) if (one.shadowRoot) found.push(...deep(selector, one.shadowRoot));
    return root.shadowRoot && root !== document ? [...found, ...deep(selector, root.shadowRoot)] : found;
}"""
"""TensorBoard's pages are made of elements with trees of their own, which a selector does not enter."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opened(browser: Any, folder: Path) -> Iterator[Any]:
    """Open the address that `bnlab dashboard` prints; nothing may go wrong in the page."""
    with live_tensorboard(folder) as board:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(DEEP)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(board.address)
        yield page
        assert errors == []
        page.close()


def drawn(page: Any) -> list[Any]:
    """Return the parts of Custom Scalars, as soon as each chart has a curve."""
    page.wait_for_function(f"() => {{ const all = ({CHARTS})(); return all.length && {ALL_HAVE_CURVES}; }}")
    parts: list[Any] = page.evaluate(CHARTS)
    return parts


ALL_HAVE_CURVES = "all.every(([_, cards]) => cards.length && cards.every(([_, lines]) => lines > 0))"


def names(parts: list[Any]) -> dict[str, list[str]]:
    return {title: [name for name, _, _ in cards] for title, cards in parts}


def boxes(page: Any) -> dict[str, bool]:
    """Return the runs of Custom Scalars that are listed, and whether they are checked."""
    listed = page.evaluate("deep('paper-checkbox', deep('tf-multi-checkbox')[0]).map(one => [one.name, one.checked])")
    return dict(listed)


def smoothing(page: Any) -> float:
    return float(page.evaluate("deep('paper-input', deep('tf-smoothing-input')[0])[0].value"))


def first_cards(page: Any) -> list[str]:
    """Go to Time Series; return the tags of its first cards, as soon as there are values, which are not smoothed."""
    page.get_by_role("tab", name="Time Series").click()
    page.wait_for_function("deep('card-view')[0]?.innerText.includes('Value')")
    assert "Smoothed" not in page.evaluate("deep('card-view')[0].innerText")
    tags: list[str] = page.evaluate("deep('card-view').slice(0, 4).map(one => deep('.tag', one)[0].title)")
    return tags


LEARNING = {"Learning": ["loss", "accuracy"], "Inside the network": ["saturation", "dead fraction", "gradient norm"]}
PINNED = ["eval/loss", "eval/accuracy", "train/loss", "train/accuracy"]


@pytest.mark.parametrize("number", [1, 12, 350])
def test_runs_open_on_loss_accuracy_and_saturation(browser: Any, tmp_path: Path, number: int) -> None:
    runs = write_runs(tmp_path, number)
    with opened(browser, tmp_path) as page:
        parts = drawn(page)
        assert names(parts) == LEARNING
        assert boxes(page) == dict.fromkeys(sorted(runs[-FEW:]), True)
        shown = min(number, FEW)
        assert [lines for _, lines, _ in parts[0][1]] == [2 * shown, 2 * shown]  # of training and of validation
        assert parts[1][1][0][2] < 700  # saturation can be seen without scrolling
        assert smoothing(page) == 0
        assert first_cards(page) == PINNED


def write_sweep(folder: Path, lrs: list[float], seeds: list[int]) -> None:
    ids = [
        run_folder(folder, norm, lr, seed, [2.0, 1.0 + seed / 10, 0.5 + lr])
        for norm in ("batch", "none")
        for lr in lrs
        for seed in seeds
    ]
    write_sweep_dashboard(sweep_of(folder, ids))


def test_a_sweep_opens_on_its_arms_with_bands(browser: Any, tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", [0.1, 0.2], [0, 1])
    with opened(browser, tmp_path / "s") as page:
        parts = drawn(page)
        assert names(parts) == {
            "Arms, each at its best learning rate: mean over seeds, 95% interval": [
                *["validation loss", "validation accuracy"]
            ],
            "Inside the network": ["saturation"],
            "Learning-rate sensitivity": [
                "validation loss at the end, by 100 log10(LR): -200 is 0.01, 0 is 1",
                "validation accuracy at the end, by 100 log10(LR): -200 is 0.01, 0 is 1",
                "share of the runs that diverged, by 100 log10(LR): -200 is 0.01, 0 is 1",
            ],
            "On the training set": ["training loss"],
        }
        assert parts[1][1][0][2] < 700
        assert boxes(page) == {"arms/batch": True, "arms/none": True}
        assert smoothing(page) == 0
        assert first_cards(page) == PINNED


def test_all_sweeps_open_on_their_arms(browser: Any, tmp_path: Path) -> None:
    write_sweep(tmp_path / "one", [0.1], [0])
    write_sweep(tmp_path / "rates", [0.1, 0.2], [0, 1])
    single = write_runs(tmp_path, 1)
    with opened(browser, tmp_path) as page:
        parts = drawn(page)
        assert names(parts) == LEARNING
        arms = [f"{sweep}/arms/{norm}" for sweep in ("one", "rates") for norm in ("batch", "none")]
        assert boxes(page) == dict.fromkeys([*arms, *single], True)
        assert parts[0][1][0][1] == 2 * 5
        assert smoothing(page) == 0


def test_an_address_with_a_page_of_its_own_keeps_it(browser: Any, tmp_path: Path) -> None:
    write_runs(tmp_path, 2)
    with opened(browser, tmp_path) as page:
        drawn(page)
        address = page.url.partition("?")[0]
        page.goto("about:blank")
        page.goto(f"{address}#hparams")
        page.wait_for_url("**/?*#hparams*")
