"""When Python looks for garbage: rarely while a process begins, as nearly all that is made then stays."""

import gc

_USUAL = gc.get_threshold()
_RARELY = 400_000
"""New objects before a look. Importing torch and reading a configuration make about 365,000; a look after every 700 of
them, as usual, takes half a second in all."""

_postponed = False


def look_rarely() -> None:
    """Let Python look for garbage only after many new objects, until `look_as_usual`."""
    global _postponed
    gc.set_threshold(_RARELY)
    _postponed = True


def look_as_usual() -> None:
    """Let Python look for garbage as usual, but not again at what is there now; nothing without `look_rarely`.

    What is there now is kept as long as the process lasts, if parts of it refer to each other: no network should be.
    """
    global _postponed
    if _postponed:
        gc.freeze()
        gc.set_threshold(*_USUAL)
        _postponed = False
