"""The site of these pages: scripts/build_site builds it, with every warning as an error.

The pages stay plain Markdown that reads the same in the repository: what the site adds (the order of pages, the look)
stands here and in _toc.yml. The root of the repository is the source folder, so that the links from one page to
another are the same in both places; `include_patterns` says which files are pages.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "bnlab"
author = "The bnlab authors"
copyright = "the bnlab authors"  # noqa: A001: a name of Sphinx's
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "docs/_toc.yml"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = ["runs", "outputs", "multirun", "build", "dist", "site", "tests", ".*"]

nitpicky = True  # a reference that leads nowhere is a warning
myst_heading_anchors = 3  # the anchors of headings, by the rule of GitHub
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "pydata_sphinx_theme"
html_title = "bnlab"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
