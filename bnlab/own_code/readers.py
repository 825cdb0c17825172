"""What code depends on besides its imports: files, the environment, other programs. What follows is a warning.

The names of functions tell it: nothing is run, and a function that only has such a name is told too.
"""

import ast
from collections.abc import Iterator, Sequence

_BY_NAME = {
    "reads a file": (
        "open read_text read_bytes load loadtxt genfromtxt fromfile memmap open_memmap loadmat load_file safe_open "
        "load_state_dict_from_url imread read_image read_file read_csv read_table read_fwf read_excel read_json "
        "read_html read_xml read_feather read_parquet read_orc read_pickle read_hdf read_stata read_sql read_sql_query "
        "read_sql_table File urlopen urlretrieve"
    ),
    "reads a folder": "listdir scandir iterdir glob iglob rglob",
    "reads the environment": "getenv environ environb",
    "runs another program": "Popen check_output check_call popen getoutput getstatusoutput",
    "runs code that no import names": (
        "spec_from_file_location SourceFileLoader run_path run_module CDLL LoadLibrary load_library"
    ),
}
"""What a call does -> the last names of functions, from whatever module they are."""

_BY_MODULE = {
    "subprocess.run": "runs another program",
    "subprocess.call": "runs another program",
    "os.system": "runs another program",
    "os.walk": "reads a folder",
    "sqlite3.connect": "reads a file",
    "requests.get": "reads a file",
    "torch.from_file": "reads a file",
}
"""Functions whose last names alone say too little."""

_KINDS = {name: kind for kind, names in _BY_NAME.items() for name in names.split()}


def reads_in(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Yield what code reads or runs besides its imports, such as ``reads a file (open, line 3)``.

    Args:
        nodes: All nodes of a module's code.
    """
    full_names = _full_names(nodes)
    has_config_files = "configparser" in full_names.values()
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.Call):
            name = dotted_name(node.func, full_names)
        elif isinstance(node, ast.Attribute | ast.Name) and id(node) not in called:
            name = dotted_name(node, full_names)
            if not name.endswith((".environ", ".environb")):
                continue
        else:
            continue
        last = name.rpartition(".")[2]
        kind = None if name.startswith(("self.", "own.")) else _BY_MODULE.get(name) or _KINDS.get(last)
        if has_config_files and last == "read" and isinstance(node, ast.Call) and node.args:
            kind = "reads a file"
        if kind is not None:
            yield f"{kind} ({last}, line {node.lineno})"


def dotted_name(expression: ast.expr, full_names: dict[str, str] | None = None) -> str:
    """Return a function's name as it is written, with ``?`` for what is no name, such as a call.

    Args:
        expression: What is called.
        full_names: Names that imports bind -> what they stand for.
    """
    if isinstance(expression, ast.Attribute):
        return f"{dotted_name(expression.value, full_names)}.{expression.attr}"
    if isinstance(expression, ast.Name):
        return (full_names or {}).get(expression.id, expression.id)
    return "?"


def _full_names(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """Return the names that a module binds by imports and by ``def``, with what they stand for."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {one.asname or one.name: one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):  # of an own package: its code is read as this is
            base = f"{node.module}." if node.module and not node.level else "own."
            found |= {one.asname or one.name: f"{base}{one.name}" for one in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = f"own.{node.name}"
    return found
