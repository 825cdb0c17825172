"""The site of these pages: scripts/build_site builds it, with every warning as an error.

The pages stay plain Markdown that reads the same in the repository: what the site adds (the order of pages, the look)
stands here, in _toc.yml and in site/. The root of the repository is the source folder, so that the links from one page
to another are the same in both places; `include_patterns` says which files are pages.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "bnlab"
author = "The bnlab authors"
copyright = "the bnlab authors"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "docs/_toc.yml"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = ["bnlab", "build", "conf", "dist", "findings", "multirun", "outputs", "runs", "scripts", "tests"]
nitpicky = True  # a reference that leads nowhere is a warning
myst_heading_anchors = 3  # headings have the anchors that the repository's own rendering gives them

WIDE = ["docs/claims", "docs/claims.zh", "docs/conventions", "docs/index", "docs/negative"]

html_theme = "pydata_sphinx_theme"
html_title = "bnlab"
html_static_path = ["site/style.css"]
html_css_files = ["style.css"]
html_extra_path = ["site/index.html"]  # leads on to docs/index.html
html_copy_source = False
html_use_index = False
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    # pages with wide tables have their whole width
    "secondary_sidebar_items": {"**": ["page-toc"], **{page: [] for page in WIDE}},
}
html_sidebars = {"docs/index": [], "docs/negative": []}  # they have no pages below them
