"""The pages in headless Chromium: nothing is asked for, nothing goes wrong, and everybody can read them.

What is needed: Debian's package chromium, and the Python packages playwright (which drives it) and
axe-playwright-python (which carries the rules of axe-core). Without them these tests are skipped.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_studies import all_forms, study, write_studies
from judged_runs import Place, Written, rising, write_judged

from bnlab.pages.race_page import RacePage, make_race_page, show_race, write_race_page
from bnlab.pages.report_files import make_report
from bnlab.pages.words import Words
from bnlab.results.race import read_race

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]

PHONE, SCREEN = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
NAMES = ("studies-en", "studies-zh", "sweep-en", "sweep-zh", "race-en", "race-zh")


def run(place: Place) -> Written | None:
    end = {"batch": 0.95, "none": 0.9, "a_norm_with_a_long_name": 0.91}[place.norm]
    return rising(end + 0.001 * place.seed, saturation=[0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = tmp_path_factory.mktemp("runs")
    norms = ("batch", "none", "a_norm_with_a_long_name")
    write_judged(runs / "study-1a2b3c4d", run, norms=norms, lrs=(0.1, 1.0, 10.0), seeds=range(3))
    write_studies(runs / "studies", all_forms() | {"long": study("long", claim="A_very_long_word_" * 12)})
    found = {}
    for lang in ("en", "zh"):
        for name, given in (("studies", runs / "studies"), ("sweep", runs / "study-1a2b3c4d")):
            found[f"{name}-{lang}"] = runs / f"{name}-{lang}.html"
            found[f"{name}-{lang}"].write_text(make_report(str(given), lang=lang).html, encoding="utf-8")
        found[f"race-{lang}"] = runs / f"race-{lang}.html"
        write_race_page(race_page(runs / "study-1a2b3c4d", Words(lang)), found[f"race-{lang}"])
    return found


def race_page(folder: Path, words: Words) -> RacePage:
    """Return a page of two races, as of `bnlab demo`, with the verdicts of studies."""
    parts = {
        norm: [f"{norm}-mlp-digits-lr1-s{seed}-00000000" for seed in range(3)]
        for norm in ("batch", "none", "a_norm_with_a_long_name")
    }
    arms = read_race(folder, parts)
    races = [show_race(arms, name, words, "bnlab demo", f"Race {name}", "Something came out.") for name in ("a", "b")]
    return make_race_page(words("demo_title"), words("demo_lead"), races, list(all_forms().values()), words)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def open_page(browser: Any, path: Path, scheme: str = "light", size: dict[str, int] = SCREEN) -> Any:
    """Open a page; whatever it asks for or complains of is noted in its ``trouble``."""
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.set_default_timeout(300_000)  # on a busy machine, too
    page.trouble = []
    page.on("request", lambda asked: None if asked.url in {path.as_uri(), "data:,"} else note(page, asked.url))
    page.on("console", lambda said: note(page, said.text))
    page.on("pageerror", lambda error: note(page, str(error)))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return page


def note(page: Any, text: str) -> None:
    if not text.startswith("data:image/png"):  # a heat map, which lies in the page itself
        page.trouble.append(text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_and_nothing_is_asked_for(
    browser: Any, pages: dict[str, Path], name: str, scheme: str
) -> None:
    page = open_page(browser, pages[name], scheme)
    # of all that axe looks at, a scheme changes the colors alone
    rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if scheme == "dark" else {}
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], **rules})
    wrong = [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found.response["violations"]]
    assert wrong == []
    assert page.trouble == []
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_telephone_shows_it_without_scrolling_sideways(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = open_page(browser, pages[name], size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    cut = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.right > innerWidth + 1 && !one.closest('.scroll, pre, svg, .unseen');
        }).map(one => one.outerHTML.slice(0, 100))"""
    )
    assert cut == []
    page.close()


def test_the_keyboard_reaches_the_content_and_every_table(browser: Any, pages: dict[str, Path]) -> None:
    page = open_page(browser, pages["studies-en"], size=PHONE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "group"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_figures_have_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    """Axe leaves the texts of SVGs out: their color against the page's, by the formula of WCAG 2."""
    page = open_page(browser, pages["studies-en"], scheme)
    colors = page.evaluate(
        "[...new Set([...document.querySelectorAll('svg.plot text')].map(one => getComputedStyle(one).fill))]"
    )
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colors
    for color in colors:
        assert contrast(color, paper) >= 4.5, (color, paper)
    page.close()


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors such as ``rgb(0, 0, 0)``."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_on_paper_it_is_dark_on_white_and_nothing_is_cut(browser: Any, pages: dict[str, Path]) -> None:
    page = open_page(browser, pages["studies-en"], "dark", size={"width": 794, "height": 1123})  # A4
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    page.close()
