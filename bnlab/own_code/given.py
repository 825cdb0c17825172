"""Objects that a notebook gives in place of a name: networks and data that no other process can import."""

import hashlib
import inspect
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from bnlab.own_code.loaded import what_it_does

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
    """Return a hash of what the methods of a class do, or a function, without comments and places of lines.

    Classes that it is derived from count too, up to those of installed packages.

    Args:
        value: A class or a function.
    """
    if isinstance(value, FunctionType):
        return hashlib.sha256(repr(what_it_does(value.__code__)).encode()).hexdigest()
    of_main = [one for one in inspect.getmro(value) if one is value or one.__module__ == value.__module__]
    parts = [(one.__qualname__, name, _code_in(member)) for one in of_main for name, member in vars(one).items()]
    told = [(place, name, code if isinstance(code, str) else what_it_does(code)) for place, name, code in parts if code]
    return hashlib.sha256(repr(sorted(told, key=repr)).encode()).hexdigest()


def _code_in(member: Any) -> CodeType | str | None:
    member = getattr(member, "__func__", member)
    member = member.fget if isinstance(member, property) else member
    if isinstance(member, FunctionType):
        return member.__code__
    return repr(member) if isinstance(member, int | float | str | None) else None
