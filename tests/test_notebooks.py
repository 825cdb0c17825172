"""The notebooks of docs/notebooks run from top to bottom, and say what their text says; what is saved was run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from loaded_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def said(notebook: Any) -> str:
    """All that the cells of a notebook print and show, as text."""
    texts = []
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            texts.append(text if isinstance(text, str) else "".join(text))
    return "\n".join(texts)


def check_student(text: str) -> None:
    none, batch = (float(re.search(rf"{norm}: test accuracy ([\d.]+)%", text)[1]) for norm in ("none", "batch"))
    assert none < 20
    assert re.search(r"^none-mlp-\S+  finished at step 100  validation [\d.]+%$", text, re.MULTILINE)  # progress=True
    assert batch > 85
    first, last = (
        float(re.search(rf"^{layer} .*?([\d.]+)$", text, re.MULTILINE)[1]) for layer in ("hidden1", "output")
    )
    assert 100 * first < last  # "hundreds of times smaller"
    plain = text.partition("batch at the start")[0]
    assert all(float(share) < 0.05 for share in re.findall(r"^hidden\d +([\d.]+)", plain, re.MULTILINE))


def check_teacher(text: str) -> None:
    out = json.loads(re.search(r"^\[.*\]$", text, re.MULTILINE)[0])
    assert [round(value, 3) for value in out] == [-1.069, -0.535, 0.0, 1.604]
    rows = {
        name: [int(x) for x in re.findall(r"(\d+)%", line)] for name, line in rows_of(text, "none", "batch").items()
    }
    assert sum(x > 60 for x in rows["batch"]) > sum(x > 60 for x in rows["none"])  # "a wider band of rates"


def check_researcher(text: str) -> None:
    assert "45 runs" in text
    assert "tested against the laws of layer normalization" in text
    assert len(re.findall(r"better than \w+ by more than 1 point: (?:supported|refuted|inconclusive)", text)) == 2


CHECKS = {"student": check_student, "teacher": check_teacher, "researcher": check_researcher}


def rows_of(text: str, *names: str) -> dict[str, str]:
    return {name: re.search(rf"^{name} +[\d]+%.*$", text, re.MULTILINE)[0] for name in names}


def test_each_notebook_is_checked() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(CHECKS)


@each_notebook
def test_what_is_saved_was_run_in_order_and_tells_nothing_of_the_machine(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r"/tmp/|/home/|/root/|/Users/|Traceback", json.dumps(notebook["cells"]))
    assert path.stat().st_size < 100_000
    CHECKS[path.stem](said(notebook))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if shutil.which("bnlab") is None:
        pytest.skip("bnlab is not on the path")
    notebook = load_script("make_notebooks").executed(path, tmp_path)
    CHECKS[path.stem](said(notebook))
    kinds = {output["output_type"] for cell in code_cells(notebook) for output in cell["outputs"]}
    assert "error" not in kinds
