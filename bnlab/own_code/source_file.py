"""What a file of source code says: a hash of its code, its imports, and what it reads besides."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlab.own_code.readers import dotted_name, reads_in


@dataclass(frozen=True)
class Source:
    """What one file says.

    Attributes:
        digest: SHA-256 of its code.
        imports: Each import: the dots before a name, the name, and the names that are taken from it.
        unread: What else its numbers may depend on: phrases such as ``reads a file (open, line 3)``.
        sets: Names that it may give to other values later: by ``global``, or as attributes of what is not ``self``.
    """

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    unread: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()


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
        nodes = list(ast.walk(ast.parse(text)))
        code = _without_comments(text, nodes)
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return Source(hashlib.sha256(content).hexdigest())
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    unread: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call):
            called = dotted_name(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"}:
                found = _import_of_call(node)
                if found is None:
                    unread.append(f"runs code that no import names ({called}, line {node.lineno})")
                else:
                    imports.append((*found, ()))
    digest = hashlib.sha256(code.encode()).hexdigest()
    return Source(digest, tuple(imports), (*unread, *reads_in(nodes)), frozenset(_set_later(nodes)))


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


def _set_later(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Yield the names that code may give to other values while it runs: of a module, or of a class."""
    for node in nodes:
        if isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):  # globals()["N"] += 1
            if not isinstance(node.ctx, ast.Load) and not isinstance(node.value, ast.Name):
                yield str(node.slice.value)
        elif isinstance(node, ast.Call) and dotted_name(node.func) == "setattr":
            yield from (str(given.value) for given in node.args[1:2] if isinstance(given, ast.Constant))


def _without_comments(text: str, nodes: Sequence[ast.AST]) -> str:
    """Return source code without comments, empty lines and blanks at the ends of lines: they change no number.

    In a string they do, unless it stands alone, as a docstring does.
    """
    lines = text.split("\n")  # splitlines ends a line at a form feed too, in the middle of a string
    alone = {
        row
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno is not None
        for row in range(node.lineno, node.end_lineno)
    }
    kept = set[int]()
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        elif tokenize.tok_name[token.type] in {"STRING", "FSTRING_MIDDLE", "TSTRING_MIDDLE"}:
            kept |= set(range(row, token.end[0])) - alone
    stripped = (line if row in kept else line.rstrip() for row, line in enumerate(lines, 1))
    return "\n".join(line for row, line in enumerate(stripped, 1) if line or row in kept)
