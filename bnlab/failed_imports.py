"""Why an import of somebody's package fails although it is there: a file hides what it needs, or memory is short."""

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path, PurePath

from bnlab.errors import BnlabError, ConfigError

_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
"""What the system says of a library that it cannot load."""


@contextlib.contextmanager
def saying_why_imports_fail() -> Iterator[None]:
    """Raise in place of an error its cause and cure, if it is one that `why_imports_fail` knows.

    Raises:
        ConfigError: A file in the current folder hides what is imported, or memory is short.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, BnlabError) and (why := why_imports_fail(error)):
            raise ConfigError(why) from error
        raise


def why_imports_fail(error: BaseException) -> str | None:
    """Return the cause of an error and its cure, if it is around the code: a file in its way, or too little memory.

    Args:
        error: What was raised by code that is not the user's, such as torch's.
    """
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _NO_MEMORY.search(str(error))):
        what = f" ({error})" if str(error) else ""
        return f"there is too little memory{what}. Free some, or raise the limit that ulimit -v shows."
    file = _hiding_file(error)
    if file is None:
        return None
    return f".{file} hides Python's module {PurePath(file).stem}. Rename it."


def _hiding_file(error: BaseException) -> str | None:
    """Return the file, or the folder, by which the current folder hid a module of Python's during an import."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(frame.f_code.co_name == "<module>" for frame in frames):  # nothing was being imported
        return None
    missing = (getattr(error, "name", None) or "").partition(".")[0]  # of 'email.parser', which a package email lacks
    named = [module for name, module in sys.modules.items() if f"'{name}'" in str(error) or name == missing]
    files = [*(frame.f_code.co_filename for frame in frames), *(getattr(one, "__file__", None) for one in named)]
    here = Path(sys.path[0]).absolute()  # of "", the current folder
    for path in map(PurePath, filter(None, files)):
        is_package = path.stem == "__init__"
        module = path.parent if is_package else path
        if module.parent == here and module.stem in sys.stdlib_module_names:
            return f"/{module.name}/" if is_package else f"/{module.name}"
    return None
