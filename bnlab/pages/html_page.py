"""The page as one HTML file that asks for nothing else: no network, no script."""

import functools
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import to_hex

import bnlab
from bnlab.pages.amounts import NO_BOUND, number
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.plain_text import plain
from bnlab.pages.study_results import Lang, Texts
from bnlab.pages.words import Words
from bnlab.report.network.heatmaps import SHARES

SYMBOLS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
"""What stands beside the word of a verdict, for a quick eye: no verdict is told by its color alone."""


def render(template: str, words: Words, **values: Any) -> str:
    """Return a page.

    Every text is escaped, and freed of characters that would be obeyed.

    Args:
        template: The name of a file in templates/, without ``.html.j2``.
        words: The fixed words of the page's language.
        **values: What the template shows.
    """
    return _environment(words.lang).get_template(f"{template}.html.j2").render(**values)


@functools.cache  # it keeps the templates that it has compiled
def _environment(lang: Lang) -> Environment:
    words = Words(lang)
    environment = Environment(
        loader=PackageLoader("bnlab.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_orders,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def marked(text: str, of: str) -> Markup:
        """Return a text, marked as one of another language where it is one."""
        if of == lang:
            return escape(plain(text))
        return Markup('<span lang="{}">{}</span>').format("zh-Hans" if of == "zh" else "en", plain(text))

    def spoken(texts: Texts) -> Markup:
        return marked(*texts.in_lang(lang))

    def engine(text: str) -> Markup:
        chinese = in_chinese(text) if lang == "zh" else None
        return marked(text, "en") if chinese is None else marked(chinese, "zh")

    def engine_or_spoken(texts: Texts) -> Markup:
        return spoken(texts) if texts.zh else engine(texts.en)

    environment.filters.update(
        spoken=spoken, engine=engine, engine_or_spoken=engine_or_spoken, number=number, plainly=json.dumps
    )
    environment.globals.update(
        t=words,
        lang=lang,
        symbols=SYMBOLS,
        no_bound=NO_BOUND[lang],
        colon=words("colon"),
        version=bnlab.__version__,
        ramp=", ".join(to_hex(SHARES(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
    )
    return environment


def _without_orders(value: Any) -> Any:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
