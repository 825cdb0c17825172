"""What TensorBoard opens on: which runs are checked, which charts come first, and that nothing is smoothed.

TensorBoard by itself opens on the chart whose tag comes first by the alphabet, smooths every curve, and checks none of
more than 40 runs on its older pages, Custom Scalars among them. An address can say otherwise.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bnlab.runfolder.finding import find_run_folders, is_sweep
from bnlab.runfolder.folder import RunFolder

ARMS = "arms"
"""The folder in a sweep's folder with a TensorBoard run per arm."""

MOST = 40
"""Runs that TensorBoard's older pages check without being told to: of more they check none."""

FEW = 12
"""Runs that are checked where there are more than that: as many as can be told apart in one chart."""

PINNED = ("eval/loss", "eval/accuracy", "train/loss", "train/accuracy")
"""Tags that the Time Series page begins with; by itself it goes by the alphabet, and begins with dead_fraction."""

_EVENTS = "events.out.tfevents.*"


@dataclass(frozen=True)
class FirstPage:
    """What is listed and checked when TensorBoard opens.

    Attributes:
        runs: The names that TensorBoard has for what is checked: runs, or arms of sweeps.
        pattern: A regular expression that finds them among all names, in JavaScript and in Python; empty: all.
        num_others: Runs and arms that are not checked, since there are too many.
    """

    runs: tuple[str, ...]
    pattern: str = ""
    num_others: int = 0

    @property
    def query(self) -> str:
        """The part of the address for the Time Series page: no smoothing, loss and accuracy first, these runs."""
        pins = json.dumps([{"plugin": "scalars", "tag": tag} for tag in PINNED], separators=(",", ":"))
        runs = f"&runFilter={quote(self.pattern)}" if self.pattern else ""
        return f"smoothing=0&pinnedCards={quote(pins)}{runs}"

    @property
    def fragment(self) -> str:
        """The part of the address for Custom Scalars: no smoothing, these runs.

        Example:
            >>> FirstPage(("arms/batch", "arms/none"), "^arms/").fragment
            'custom_scalars&_smoothingWeight=0&regexInput=%5Earms/'
        """
        words = ["custom_scalars", "_smoothingWeight=0"]
        words += [f"regexInput={quote(self.pattern)}"] if self.pattern else []
        if self.num_others:  # these stay checked when the pattern is deleted; TensorBoard would check none then
            checked = json.dumps(dict.fromkeys(self.runs, True)).encode()
            words.append(f"runSelectionState={quote(base64.b64encode(checked).decode(), safe='')}")
        return "&".join(words)


def read_first_page(folder: Path) -> FirstPage:
    """Return what TensorBoard is to open on.

    Of a sweep, its arms; of a folder of several sweeps, the arms of each, and the runs that are in no sweep. If these
    are more than 40, the newest of them: whole sweeps and single runs, 12 at most, or one sweep that has more arms.

    Args:
        folder: What TensorBoard shows: the folder of a run, of a sweep, or of all runs.
    """
    if is_sweep(folder):
        return _first_of([_of_sweep(folder, "")])
    sweeps = sorted(path.parent for path in folder.glob("*/sweep.json"))
    groups = [_of_sweep(path, f"{path.name}/") for path in sweeps]
    of_sweeps = frozenset(sweeps)
    single = (run for run in find_run_folders(folder) if run.path.parent not in of_sweeps and _has_events(run.path))
    return _first_of([*groups, *(_of_run(run, folder) for run in single)])


@dataclass(frozen=True)
class _Group:
    """What is checked together or not at all: the arms of a sweep, or a run.

    Attributes:
        names: The names that TensorBoard has for them.
        pattern: Finds them among all names, and nothing else but such groups; empty: it finds all.
        time: When their training began, in nanoseconds.
    """

    names: tuple[str, ...]
    pattern: str
    time: int


def _first_of(groups: Sequence[_Group]) -> FirstPage:
    names = tuple(name for group in groups for name in group.names)
    if len(names) <= MOST:
        patterns = dict.fromkeys(group.pattern for group in groups if group.names)
        return FirstPage(names, "" if "" in patterns else "|".join(patterns))
    shown: list[str] = []
    for group in sorted(groups, key=lambda group: group.time, reverse=True):
        if shown and len(shown) + len(group.names) > FEW:
            break
        shown += group.names if len(group.names) <= MOST else group.names[:FEW]
    return FirstPage(tuple(shown), f"({'|'.join(map(_ending, shown))})$", len(names) - len(shown))


def _of_sweep(folder: Path, prefix: str) -> _Group:
    """Return a sweep's arms; its runs, as long as its arms have not been written."""
    try:
        time = (folder / "sweep.json").stat().st_mtime_ns
    except OSError:  # it was moved away since it was found
        time = 0
    if arms := _with_events(folder / ARMS):
        return _Group(tuple(f"{prefix}{ARMS}/{name}" for name in arms), f"{'/' if prefix else '^'}{ARMS}/", time)
    runs = tuple(f"{prefix}{name}" for name in _with_events(folder))
    return _Group(runs, f"^{_literal(prefix)}" if prefix else "", time)


def _of_run(run: RunFolder, folder: Path) -> _Group:
    name = run.path.relative_to(folder).as_posix()
    beside, slash, _ = name.rpartition("/")
    return _Group((name,), f"^{_literal(beside)}/" if slash else "", run.manifest_stamp() or 0)


def _has_events(folder: Path) -> bool:
    return any(folder.glob(_EVENTS))


def _with_events(folder: Path) -> list[str]:
    """Return the names of the folders with events in a folder."""
    return sorted({path.parent.name for path in folder.glob(f"*/{_EVENTS}")})


def _literal(text: str) -> str:
    """Return a regular expression for a text; re.escape marks characters, too, that need no mark."""
    return re.sub(r"([.*+?^${}()|\[\]\\])", r"\\\1", text)


def _ending(name: str) -> str:
    """Return a regular expression for a name, to stand before its end: of a run's name, its last 8 digits."""
    digits = re.search(r"-([0-9a-f]{8})$", name)
    return digits[1] if digits else f"^{_literal(name)}"
