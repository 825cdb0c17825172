"""Every link from one file of the project to another leads somewhere."""

import re
from pathlib import Path

from folded import folded

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@folded("page", PAGES)
def test_the_files_that_a_page_links_to_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    wrong = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert wrong == []


OF_A_MACHINE = re.compile(r"(?<![\w.~/:])/(?:tmp|work|home|root|mnt)/[\w.]+")
KINDS = {".md", ".html", ".csv", ".svg", ".ipynb", ".yml"}
SHOWN = [*ROOT.glob("*.md"), *(path for path in (ROOT / "docs").rglob("*") if path.suffix in KINDS)]


@folded("page", SHOWN)
def test_a_page_has_no_path_of_the_machine_that_wrote_it(page: Path) -> None:
    assert OF_A_MACHINE.findall(page.read_text(encoding="utf-8")) == []
