"""Plant faults in the code, one at a time, and show which of them the tests find.

python scripts/plant_faults.py                  # every fault of planted_faults.toml: an hour or two on two cores
python scripts/plant_faults.py --only 3 17      # the faults with these numbers
python scripts/plant_faults.py --room norms     # the faults of one room of bnlab/
python scripts/plant_faults.py --quick          # the quick tests only, never the slow ones
python scripts/plant_faults.py --likely         # only the tests that the list names for each fault: ten minutes
python scripts/plant_faults.py --check          # plant nothing: check that each text occurs in its room exactly once
python scripts/plant_faults.py --write          # store the table in scripts/bench_results/planted_faults.json

The tests run in a copy of this checkout, in which one line is wrong. The quick tests run first. Where they find nothing
within the time limit, the slow ones run. A fault counts as found where a test fails that passes without the fault.
A fault that nothing finds is either without consequences or a test that is missing.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAULTS = ROOT / "scripts" / "planted_faults.toml"
RESULTS = ROOT / "scripts" / "bench_results" / "planted_faults.json"
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "runs", "*.egg-info", "build", "dist")

CPU_SECONDS = 90
"""CPU seconds that each of the two parts of the tests gets per fault, unless --seconds says otherwise."""

MARKED = {"quick": "not slow and not cluster", "slow": "slow and not cluster"}
"""Part of the tests -> its expression over markers."""

TESTS_OF: dict[str, tuple[str, ...]] = {
    "norms": ("norms", "models", "conformance", "diagnostics", "training"),
    "conformance": ("conformance", "cli/test_check_command.py"),
    "data": ("data", "training", "test_experiment.py", "experiment"),
    "identity": ("identity", "sweeps", "experiment", "cli"),
    "own_code": ("identity", "sweeps", "cli"),
    "traps": ("traps", "cli"),
    "lessons": ("lessons", "cli/test_explain_command.py"),
    "models": ("models", "traps", "diagnostics", "training"),
    "diagnostics": ("diagnostics", "training", "experiment"),
    "training": ("training", "test_experiment.py", "experiment", "sweeps"),
    "experiment": ("experiment", "test_experiment.py", "sweeps", "cli"),
    "runfolder": ("runfolder", "results", "experiment", "cli"),
    "results": ("results", "report", "loggers", "cli"),
    "stats": ("stats", "results", "report", "loggers", "cli"),
    "sweeps": ("sweeps", "cli"),
    "config": ("config", "sweeps", "cli"),
    "report": ("report", "cli"),
    "loggers": ("loggers", "report", "cli"),
    "studies": ("studies", "pages", "cli"),
    "pages": ("pages", "cli"),
    "cli": ("cli",),
}
"""Room -> the folders of its tests and of the rooms that use it, in the order in which they run."""


@dataclass(frozen=True)
class Fault:
    """One mistake that somebody could make.

    Attributes:
        number: Its place in the list, from 1.
        room: Folder of bnlab/ whose code it changes.
        means: What is wrong then, in one line.
        text: The text that it replaces, which occurs in the room exactly once.
        becomes: What stands there instead.
        tests: Paths in tests/ that run before all others, the likeliest to find it first.
    """

    number: int
    room: str
    means: str
    text: str
    becomes: str
    tests: tuple[str, ...]

    def place(self, root: Path) -> Path | None:
        """Return the file of a checkout that holds the text; None where not exactly one place does."""
        counts = {path: path.read_text("utf-8").count(self.text) for path in (root / "bnlab" / self.room).rglob("*.py")}
        return next((path for path in counts if counts[path]), None) if sum(counts.values()) == 1 else None


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one fault.

    Attributes:
        number: Of the fault.
        room: Of the fault.
        means: Of the fault.
        found_by: ``quick``, ``slow``, ``nothing`` or, if the text is not there, ``stale``.
        test: The first test that failed, or None.
        cpu_s: CPU seconds of all tests that ran.
        ran_out: The time limit ended the tests of the last part before all had run.
    """

    number: int
    room: str
    means: str
    found_by: str
    test: str | None
    cpu_s: float
    ran_out: bool


def read_faults() -> list[Fault]:
    """Return the faults of planted_faults.toml, numbered from 1."""
    entries = tomllib.loads(FAULTS.read_text("utf-8"))["fault"]
    return [Fault(number, **{**entry, "tests": tuple(entry["tests"])}) for number, entry in enumerate(entries, 1)]


def run_tests(tree: Path, paths: Sequence[str], marked: str, cpu_limit_s: int) -> tuple[int | None, str, float]:
    """Run tests in a checkout until one fails.

    Args:
        tree: The checkout, whose own bnlab the tests import.
        paths: Files, folders or tests, in the order in which they run; those that do not exist are left out.
        marked: Expression over markers, such as ``slow and not cluster``.
        cpu_limit_s: CPU seconds that no process may exceed; in wall-clock time six times as much may pass.

    Returns:
        pytest's exit status (None: the time limit ended it), what it printed, and CPU seconds.
    """
    there = [path for path in dict.fromkeys(paths) if (tree / path.partition("::")[0]).exists()]
    if not there:
        return 5, "", 0.0  # as pytest where it collects no test
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-m", marked]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [*command, *there],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, cpu_limit_s)),
    )
    status: int | None
    try:
        said, _ = process.communicate(timeout=6 * cpu_limit_s)
        status = process.returncode if process.returncode >= 0 else None
    except subprocess.TimeoutExpired:
        said, status = "", None
    finally:  # whatever a test has started as well
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status, said, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_failure(said: str) -> str | None:
    """Return the test, or the file that cannot be imported, that pytest names as failed."""
    match = re.search(r"^(?:FAILED|ERROR) (\S+\.py(?:::[^\n]+?)?)(?: - |$)", said, re.MULTILINE)
    return None if match is None else match[1]


def replace_file(path: Path, content: str) -> None:
    """Write a module, and remove its compiled form: Python takes that of a file of equal age and size for current."""
    path.write_text(content, "utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def try_fault(fault: Fault, tree: Path, num_parts: int, cpu_limit_s: int) -> Outcome:
    """Plant a fault in a checkout, run the tests, and take it out again.

    Args:
        fault: What to plant.
        tree: A copy of the checkout.
        num_parts: 1: the quick tests that the fault names; 2: all quick tests of its room and of those that use it;
            3: the slow ones too.
        cpu_limit_s: CPU seconds that each part gets.
    """
    facts = (fault.number, fault.room, fault.means)
    path = fault.place(tree)
    if path is None:
        return Outcome(*facts, "stale", None, 0.0, False)
    sound = path.read_text("utf-8")
    likely, others = ([f"tests/{name}" for name in names] for names in (fault.tests, TESTS_OF[fault.room]))
    parts = [("quick", likely), ("quick", others), ("slow", [*likely, *others])]  # a few files are collected in no time
    total_s, status = 0.0, None
    replace_file(path, sound.replace(fault.text, fault.becomes))
    try:
        for part, paths in parts[:num_parts]:
            status, said, cpu_s = run_tests(tree, paths, MARKED[part], cpu_limit_s)
            total_s += cpu_s
            if status not in {0, 5, None} and (test := first_failure(said)) is not None:  # 5: no test is marked so
                return Outcome(*facts, part, test, total_s, False)
    finally:
        replace_file(path, sound)
    return Outcome(*facts, "nothing", None, total_s, status is None)


def failing_without_a_fault(tests: Sequence[str], tree: Path) -> list[str]:
    """Return those of some tests that fail in a sound checkout: what they said of a fault is worth nothing."""
    return [test for test in dict.fromkeys(tests) if run_tests(tree, [test], "not cluster", CPU_SECONDS)[0] != 0]


def write_table(outcomes: Sequence[Outcome], worthless: Sequence[str]) -> None:
    """Print what was found by what, a line for each fault, and the sums."""
    for one in outcomes:
        note = "  FAILS WITHOUT THE FAULT TOO" if one.test in worthless else "  (out of time)" if one.ran_out else ""
        print(f"{one.number:3} {one.room:12} {one.found_by:8} {one.cpu_s:6.1f} s  {one.means}")
        print(f"    {one.test or '-'}{note}")
    counts = Counter(one.found_by for one in outcomes if one.test not in worthless)
    told = ", ".join(f"{counts[key]} {key}" for key in ("quick", "slow", "nothing", "stale"))
    print(f"\nof {len(outcomes)}: {told}")


def main() -> None:
    """Read the command line, plant the faults that it asks for, and print the table."""
    parser = argparse.ArgumentParser(description="Plant faults in the code and show which of them the tests find.")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of faults")
    parser.add_argument("--room", help="a folder of bnlab/")
    parser.add_argument("--quick", action="store_true", help="never run the slow tests")
    parser.add_argument("--likely", action="store_true", help="run only the quick tests that the list names")
    parser.add_argument("--check", action="store_true", help="check that each text occurs exactly once; plant nothing")
    parser.add_argument("--seconds", type=int, default=CPU_SECONDS, help="CPU seconds for each part of the tests")
    parser.add_argument("--write", action="store_true", help=f"store the table in {RESULTS.relative_to(ROOT)}")
    asked = parser.parse_args()
    faults = [
        fault
        for fault in read_faults()
        if (not asked.only or fault.number in asked.only) and asked.room in {None, fault.room}
    ]
    if asked.check:
        stale = [fault for fault in faults if fault.place(ROOT) is None or fault.text == fault.becomes]
        print("\n".join(f"{fault.number} {fault.room}: {fault.text!r} is not there exactly once" for fault in stale))
        sys.exit(bool(stale))
    num_parts = 1 if asked.likely else 2 if asked.quick else 3
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "checkout"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
        for fault in faults:
            outcomes.append(one := try_fault(fault, tree, num_parts, asked.seconds))
            print(f"{one.number} {one.found_by} {one.cpu_s:.0f} s {one.test}", file=sys.stderr, flush=True)
        worthless = failing_without_a_fault([one.test for one in outcomes if one.test], tree)
    write_table(outcomes, worthless)
    if asked.write:
        rows = [{**asdict(one), "cpu_s": round(one.cpu_s, 1)} for one in outcomes]
        RESULTS.write_text(json.dumps({"failing_without_a_fault": worthless, "faults": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
