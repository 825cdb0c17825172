"""What a file of source code says: a hash of its code, its imports, and what it reads besides."""

import ast
import hashlib
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

_READERS = frozenset({"open", "read_text", "read_bytes", "load", "loadtxt", "genfromtxt", "read_csv", "getenv"})
"""Functions that read what lies outside of the code. Their names are enough: what follows from them is a warning."""


_RUNNERS = frozenset({"spec_from_file_location", "SourceFileLoader", "run_path", "run_module"})
"""Functions of Python's that run a file which no import statement names."""


@dataclass(frozen=True)
class Source:
    """What one file says.

    Attributes:
        digest: SHA-256 of its code.
        imports: Each import: the dots before a name, the name, and the names that are taken from it.
        unread: Phrases, as in `OwnCode`.
        reads: Phrases on what the module reads besides its imports, such as ``open in line 3``.
    """

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    unread: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


_read: dict[str, tuple[tuple[int, ...], Source]] = {}
"""Files that this process has read -> their size and times, and what they say."""


def read_file(file: str | None) -> Source | None:
    """Return what a file says, read once while its size and times stay the same; None if it cannot be read."""
    if file is None:
        return None
    try:
        facts = Path(file).stat()
        stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        if file not in _read or _read[file][0] != stamp:
            _read[file] = (stamp, _understood(Path(file).read_bytes()))
        return _read[file][1]
    except OSError:
        return None


def _understood(content: bytes) -> Source:
    """Return what a file says; of one that is no Python source, such as a compiled module, its hash alone."""
    try:
        text = decoded(content)
        tree = ast.parse(text)
        code = _without_comments(text)
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return Source(hashlib.sha256(content).hexdigest())
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    unread: list[str] = []
    reads: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call):
            called = _last_name(node.func)
            if called in {"import_module", "__import__"}:
                found = _import_of_call(node)
                if found is None:
                    unread.append(f"what line {node.lineno} imports")
                else:
                    imports.append((*found, ()))
            elif called in _RUNNERS:
                unread.append(f"what line {node.lineno} imports")
            elif called in _READERS:
                reads.append(f"{called} in line {node.lineno}")
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            reads.append(f"environ in line {node.lineno}")
    return Source(hashlib.sha256(code.encode()).hexdigest(), tuple(imports), tuple(unread), tuple(reads))


def decoded(content: bytes) -> str:
    """Return source code as text, by the encoding that it declares.

    Raises:
        SyntaxError: It declares an encoding that is not known.
        UnicodeDecodeError: It is not of this encoding.
    """
    return io.TextIOWrapper(io.BytesIO(content), tokenize.detect_encoding(io.BytesIO(content).readline)[0]).read()


def _import_of_call(call: ast.Call) -> tuple[int, str] | None:
    """Return the dots and the name of the module that a call imports, if it says them; dots mean the own package."""
    given = [*call.args, *(word.value for word in call.keywords if word.arg in {"name", "package"})]
    if not given or not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, str):
        return None
    name = given[0].value.lstrip(".")
    dots = len(given[0].value) - len(name)
    is_own = len(given) == 2 and isinstance(given[1], ast.Name) and given[1].id == "__package__"
    return None if dots and not is_own else (dots, name)


def _last_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _without_comments(text: str) -> str:
    """Return source code without comments, empty lines and blanks at the ends of lines: they change no number."""
    lines = text.split("\n")  # splitlines ends a line at a form feed too, in the middle of a string
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line for line in map(str.rstrip, lines) if line)
