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
