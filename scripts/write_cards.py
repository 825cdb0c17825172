"""Write docs/norms.md: a card per norm, out of its docstring, its YAML file and its measured cost.

python scripts/write_cards.py            # after a docstring, a YAML or scripts/bench_results/catalog.json changed
python scripts/write_cards.py --check    # fail if the file is not up to date; scripts/check does this
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from bnlab.config.folders import conf_folder
from bnlab.docstrings import read_docstring
from bnlab.norms.catalog import find_norm_class
from bnlab.norms.names import NORMS

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "docs" / "norms.md"
COSTS = ROOT / "scripts" / "bench_results" / "catalog.json"

HEAD = """\
# The norms

One card each: what it does, over which axes, what differs in eval mode, when it fails, what a training step costs
with it, where it comes from. Written by `scripts/write_cards.py` from the layers' own docstrings; options and their
defaults are those of `conf/norm/`. `norm.momentum` is the share of the **old** running value that is kept, in every
norm (0.9 is PyTorch's 0.1).

"""


def card(name: str, costs: dict[str, Any] | None) -> str:
    """Return one norm's card."""
    docstring = read_docstring(find_norm_class(name).__doc__)
    text = re.sub(r"``(.+?)``", r"`\1`", f"{docstring.summary}\n\n{docstring.about}".strip())
    lines = [f"## `norm={name}`", "", text, ""]
    for section in ("Axes", "Fails", "Source"):
        if docstring.sections.get(section):
            said = re.sub(r"``(.+?)``", r"`\1`", " ".join(docstring.sections[section].split()))
            is_code = "." in said.split()[0].rstrip(".,")
            lines += [f"**{section}.** {said[0] if is_code else said[0].upper()}{said[1:]}", ""]
    if costs is not None:
        shown = [f"{cost:.2f} ({model})" if (cost := costs[model].get(name)) else f"- ({model})" for model in costs]
        lines += [f"**Cost.** One training step, as a multiple of one without a norm: {', '.join(shown)}.", ""]
    options = [
        line
        for line in (conf_folder() / "norm" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        if not line.startswith(("#", "name:"))
    ]
    if options:
        lines += ["```yaml", *options, "```", ""]
    return "\n".join(lines)


def cards() -> str:
    """Return the whole page."""
    measured = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else None
    page = HEAD
    if measured:
        hardware, versions = measured["hardware"], measured["versions"]
        page += (
            f"Costs: `python scripts/bench_catalog.py`, median of {measured['rounds']} interleaved rounds, one thread, "
            f"default MLP at batch 60 and default CNN at batch 32 on 28x28 images; {hardware['processor']}, "
            f"torch {versions['torch']}.\n\n"
        )
    page += " · ".join(f"[{name}](#norm{name})" for name in NORMS) + "\n\n"
    return page + "\n".join(card(name, measured and measured["costs"]) for name in NORMS)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    if parser.parse_args().check:
        if not CARDS.exists() or CARDS.read_text(encoding="utf-8") != cards():
            sys.exit("docs/norms.md is not up to date: run python scripts/write_cards.py")
    else:
        CARDS.write_text(cards(), encoding="utf-8")


if __name__ == "__main__":
    main()
