"""When Python looks for garbage: rarely while a process begins, as nearly all that is made then stays."""

import gc
from collections.abc import Mapping

_USUAL = gc.get_threshold()
_RARELY = 400_000
"""New objects before a look. Importing torch and reading a configuration make about 365,000; a look after every 700 of
them, as usual, takes half a second in all."""

_EVERYTHING = 2
"""The generation of a look at everything, such as a library asks for while it is imported."""


def look_rarely() -> None:
    """Let Python look for garbage only after many new objects; from this first look on, as usual."""
    gc.set_threshold(_RARELY)
    if _end_with_first_look not in gc.callbacks:
        gc.callbacks.append(_end_with_first_look)


def look_as_usual() -> None:
    """Let Python look for garbage as usual, but not again at what is there now; nothing without `look_rarely`.

    What is there now is kept as long as the process lasts, if parts of it refer to each other: no network should be.
    """
    if _end_with_first_look in gc.callbacks:
        gc.freeze()
        _end()


def _end_with_first_look(phase: str, info: Mapping[str, int]) -> None:
    if phase == "stop" and info["generation"] < _EVERYTHING:
        _end()


def _end() -> None:
    gc.set_threshold(*_USUAL)
    gc.callbacks.remove(_end_with_first_look)
