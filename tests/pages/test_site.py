"""The site of the pages: every page is in its order, and it is built without a warning."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT).with_suffix("")) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
NEEDED = ("sphinx", "myst_parser", "pydata_sphinx_theme", "sphinx_external_toc")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

needs_sphinx = pytest.mark.skipif(bool(MISSING), reason=f"pip install 'bnlab[docs]': no {', '.join(MISSING)}")


def test_every_page_has_one_place_in_the_order_of_the_site() -> None:
    contents = (ROOT / "docs" / "_toc.yml").read_text(encoding="utf-8")
    order = yaml.safe_load(contents)
    listed = [order["root"], *(name.replace("\\", "/") for name in re.findall(r"file: ([\w./]+)", contents))]
    assert sorted(listed) == sorted(page.replace("\\", "/") for page in PAGES)
    assert [entry["title"] for entry in order["entries"]] == [
        *["Learn", "Ask", "Trust", "Bring your own", "Scale out", "Reference", "What did not hold"]
    ]


def test_the_front_page_of_the_site_links_to_every_page_of_docs() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w.]+\.md)\)", text))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


def build(root: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Build a site as scripts/build_site does."""
    (line,) = re.findall(r"^python -m (sphinx .*) \. ", (ROOT / "scripts" / "build_site").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", *line.split(), ".", str(folder)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_sphinx
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path / "site")
    assert (built.returncode, built.stderr) == (0, "")
    assert [page for page in PAGES if not (tmp_path / "site" / f"{page}.html").exists()] == []
    html = (tmp_path / "site" / "docs" / "sweeps.html").read_text(encoding="utf-8")
    assert 'href="speed.html"' in html
    assert re.search(r'src="\.\./_images/sweep-dashboard[\w-]*\.png"', html)
    assert re.search(r'href="\.\./_downloads/\w+/slurm\.yaml"', html)
    assert "docs/index.html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]+)"', html)
    assert asked == []  # nothing is fetched from elsewhere


@pytest.mark.slow
@needs_sphinx
@pytest.mark.parametrize(
    "wrong", ["[a page](missing.md)", "[a heading](index.md#nowhere)", "![a picture](missing.png)"]
)
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, wrong: str) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs" / "site", docs / "site")
    shutil.copy(ROOT / "docs" / "conf.py", docs)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (docs / "_toc.yml").write_text("root: docs/index\n", encoding="utf-8")
    (docs / "index.md").write_text("# Home\n", encoding="utf-8")
    assert build(tmp_path, tmp_path / "right").returncode == 0
    (docs / "index.md").write_text(f"# Home\n\n{wrong}\n", encoding="utf-8")
    built = build(tmp_path, tmp_path / "wrong")
    assert built.returncode != 0
    assert "docs/index.md:3" in built.stderr.replace("\\", "/")
