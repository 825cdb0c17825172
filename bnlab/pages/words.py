"""The fixed words of the pages, in English and Chinese: the tables beside this file."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bnlab.pages.study_results import Lang, Texts

HERE = Path(__file__).parent


@functools.cache
def _table(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_own_yaml(HERE / f"{name}.yaml")
    return found


def read_own_yaml(path: Path) -> Any:
    """Return what a file of YAML beside this one holds; by the loader in C, where there is one, in a tenth of the time.

    Args:
        path: The file.
    """
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@functools.cache
def article_statements() -> Mapping[str, tuple[str, Texts]]:
    """Return the article's statements: id -> its kind, and its text in both languages."""
    return {name: (one["kind"], Texts(en=one["en"], zh=one["zh"])) for name, one in _table("statements").items()}


class Words:
    """The fixed words in one language.

    Args:
        lang: Language of the page: ``en`` or ``zh``.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang: Lang = lang

    def __call__(self, key: str, **values: Any) -> str:
        """Return the words of a key.

        Args:
            key: As in words.yaml.
            **values: What is filled in for names in braces.
        """
        text: str = _table("words")[key][self.lang]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Return whether there are words for a key."""
        return key in _table("words")

    def command(self, typed: str) -> str:
        """Return a command of a study or a race as who reads this language types it.

        Example:
            >>> Words("en").command("bnlab study all"), Words("zh").command("bnlab study all")
            ('bnlab study all', 'bnlab study all --lang zh')
        """
        takes_lang = typed.startswith(("bnlab study ", "bnlab race ")) and "--lang" not in typed
        return f"{typed} --lang {self.lang}" if takes_lang and self.lang != "en" else typed

    def metric(self, name: str) -> str:
        """Return what is measured, in words: ``steps_to:0.9`` as steps to 90%; a diagnostic keeps its layer.

        Example:
            >>> Words("en").metric("steps_to:0.9"), Words("en").metric("saturation/hidden1")
            ('steps to 90%', 'saturation, hidden1')
            >>> Words("zh").metric("mean loss_range/network/fixed_step")
            '损失变化范围，network/fixed_step（均值）'
        """
        if name.startswith("mean "):
            return self("mean_of", what=self.metric(name.removeprefix("mean ")))
        word, colon, value = name.partition(":")
        if colon and self.has(word):
            share = _percent(value) if word != "width" else value
            return self(word, value=share)
        diagnostic, slash, layer = name.partition("/")
        title = self(diagnostic) if self.has(diagnostic) else diagnostic.replace("_", " ")
        return f"{title}{self('comma')}{layer}" if slash else title


def _percent(text: str) -> str:
    try:
        return f"{100 * float(text):g}%"
    except ValueError:
        return text
