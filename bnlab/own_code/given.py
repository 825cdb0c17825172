"""Objects that a notebook gives in place of a name: networks and data that no other process can import."""

import hashlib
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from bnlab.own_code.given_code import Reader

MODULE = "given"
"""The part before the colon in the place of such an object: given:Net."""


@dataclass(frozen=True)
class Given:
    """An object that was given.

    Attributes:
        value: The object.
        digest: A hash of its code; None: nothing but its content matters, which is hashed elsewhere.
    """

    value: Any
    digest: str | None


_given: dict[str, Given] = {}
"""Place -> the object that was given last under this name."""


def keep_given(name: str, value: Any, digest: str | None) -> str:
    """Keep an object for this process, and return its place, such as ``given:Net``.

    Args:
        name: Letters, digits and underscores; an object that was given before under this name is forgotten.
        value: The object.
        digest: A hash of its code, or None.
    """
    place = f"{MODULE}:{name}"
    _given[place] = Given(value, digest)
    return place


def find_given(place: str) -> Given | None:
    """Return the object that was given; None if this process has none of this name.

    Args:
        place: The place, such as ``given:Net``.
    """
    return _given.get(place)


def is_given(place: str) -> bool:
    """Return whether a place is that of an object which only the process has to which it was given."""
    return place.partition(":")[0] == MODULE


def name_to_import(value: Any) -> str | None:
    """Return the place of a class or function that any process can import; None for all other objects.

    Args:
        value: Any object.
    """
    if not isinstance(value, type | FunctionType) or value.__module__ == "__main__":
        return None
    return None if "." in value.__qualname__ else f"{value.__module__}:{value.__qualname__}"


def digest_of_code(value: type | FunctionType) -> str:
    """Return a hash of what a class or function does, without comments and places of lines.

    What it names counts too, up to installed packages, whose classes and functions count by their names: default
    values of its arguments, values of enclosing functions, global values, helper classes and functions, and classes
    that it is derived from. Code that names what cannot be read, such as an open file, has another hash each time: its
    run is trained again, rather than taken for an earlier one.

    Args:
        value: A class or a function.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, type | FunctionType):
        raise TypeError(f"{value!r} is neither a class nor a function")
    return hashlib.sha256(repr(Reader().read(value)).encode()).hexdigest()
