"""The words of `bnlab race`: which make an arm, and which all arms share."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlab.config.folders import known_options, search_folders
from bnlab.config.grammar import parse_overrides
from bnlab.errors import ConfigError, did_you_mean
from bnlab.results.arms import SEED, label_of

_BETWEEN = re.compile(r"\s+(?=[+~]*[\w./@]+=)")
"""The blank between two words of one argument; not one inside of a value."""

_OF_ALL = {SEED, "name"}
"""Keys that no arm has for itself."""

EXAMPLE = "bnlab race norm=batch norm=none train.steps=200"


@dataclass(frozen=True)
class RaceWords:
    """What was typed behind ``bnlab race``.

    Attributes:
        arms: Label of each arm -> its words, in order.
        shared: The words that all arms share.
        has_mark: Whether ``--`` stood between them.
    """

    arms: dict[str, list[str]]
    shared: list[str]
    has_mark: bool

    @property
    def commands(self) -> list[list[str]]:
        """The words of each arm with the shared ones, as for `plan_arms`."""
        return [[*words, *self.shared] for words in self.arms.values()]


def read_race_words(
    typed: Sequence[str], behind: Sequence[str] | None = None, config_dir: Path | None = None
) -> RaceWords:
    """Tell the arms of a race from the words that all arms share.

    Where ``--`` was typed, each argument before it is an arm. Elsewhere an argument of one word whose key no other
    argument has is shared, as are seeds, and each of the others is an arm.

    Args:
        typed: The arguments, up to ``--``; one with several words, in quotes, is one arm.
        behind: Those behind ``--``; None: it was not typed.
        config_dir: A folder with the user's own options; None: there is none but ./conf.

    Raises:
        ConfigError: There are fewer than two arms, two are alike, or an arm has a seed or several values of a setting.

    Example:
        >>> found = read_race_words(["norm=batch optim.lr=1", "norm=none optim.lr=0.1", "seed=range(3)"])
        >>> list(found.arms), found.shared
        (['batch lr=1', 'none lr=0.1'], ['seed=range(3)'])
    """
    groups, after = _groups(typed), _groups(behind or ())
    for word in (word for words in [*groups, *after] for word in words):
        _refuse_what_is_no_setting(word, config_dir)
    is_shared = [False] * len(groups)
    if behind is None:
        told = Counter(key for words in groups for key in {_key(word) for word in words})
        is_shared = [len(words) == 1 and (told[_key(words[0])] == 1 or _key(words[0]) in _OF_ALL) for words in groups]
    arms = [words for words, for_all in zip(groups, is_shared, strict=True) if not for_all]
    others = [words for words, for_all in zip(groups, is_shared, strict=True) if for_all]
    for words in arms:
        _check_arm(words)
    shared = [word for words in [*others, *after] for word in words]
    _refuse_several_values([word for word in shared if _key(word) != SEED])
    if len(arms) < 2:
        raise ConfigError(_too_few(arms, shared))
    label, number = Counter(map(_label, arms)).most_common(1)[0]
    if number > 1:
        raise ConfigError(f"the arm {label} is given twice. For repetitions, give seeds to all arms: 'seed=range(3)'.")
    return RaceWords({_label(words): words for words in arms}, shared, behind is not None)


def _groups(typed: Sequence[str]) -> list[list[str]]:
    """Return the words of each argument."""
    return [_BETWEEN.split(text.strip()) for text in typed]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _label(words: Sequence[str]) -> str:
    return label_of({_key(word): word.partition("=")[2] for word in words})


def _check_arm(words: Sequence[str]) -> None:
    """Raise if an arm has what only all arms together can have.

    Raises:
        ConfigError: It has.
    """
    for word in words:
        if _key(word) in _OF_ALL:
            raise ConfigError(
                f"{word} in the arm '{' '.join(words)}': all arms have the same {_key(word)}. Give it once, as a word "
                "of its own."
            )
    _refuse_several_values(words)


def _refuse_several_values(words: Sequence[str]) -> None:
    """Raise if a word gives its key several values.

    Raises:
        ConfigError: One does.
    """
    for one in parse_overrides(list(words)):
        if one.is_sweep_override():
            raise ConfigError(
                f"{one.input_line} has several values, and an arm of a race has one of each setting but the seed. Give "
                "an argument for each arm, or take bnlab sweep, which trains every combination."
            )


def _refuse_what_is_no_setting(word: str, config_dir: Path | None) -> None:
    """Raise with the word that was probably meant, if one is no ``key=value``.

    Raises:
        ConfigError: It is none.
    """
    if "=" in word:
        return
    options = known_options(search_folders(config_dir))
    groups = ["norm"] if word in options.get("norm", ()) else list(options)
    named = [f"{group}={word}" for group in groups if word in options[group]]
    every = [f"norm={name}" for name in options.get("norm", ())]
    cure = f"Did you mean {' or '.join(named)}?" if named else did_you_mean(f"norm={word}", every)
    raise ConfigError(f"{word} is no word of the config, such as norm=batch. {cure}")


def _too_few(arms: Sequence[Sequence[str]], shared: Sequence[str]) -> str:
    """Return what is wrong with fewer than two arms, and the cure."""
    if not arms and not shared:
        return f"a race has two arms or more. Such as: {EXAMPLE}"
    got = f"got {' '.join(arms[0])} alone" if arms else f"got words that all arms share: {' '.join(shared)}"
    return (
        f"a race has two arms or more, {got}. A word is an arm if another one has the same key, or if -- stands behind "
        f"all arms. Such as: {EXAMPLE}"
    )
