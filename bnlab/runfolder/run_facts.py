"""What the files of a run say together: its status, its final figures, and in what the files are damaged or disagree.

metrics.jsonl is the truth. The figures are computed from it again, as training computed those of summary.json.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bnlab.errors import DamagedRunError, RunError
from bnlab.records import ENDED, Status
from bnlab.runfolder.json_lines import FileEnd, find_torn_line, read_end, read_last_lines
from bnlab.runfolder.shapes import MANIFEST, SUMMARY, read_what_fits

_RUN_ID = re.compile(r"-lr.+-s-?\d+-[0-9a-f]{8}$")

_MOST_TOLD = 3
"""Settings that a sentence names; of the others it gives the number."""

_EDITED_AFTER_S = 2.0
"""config.yaml is written before manifest.json; where it is later by more than this, somebody has changed it. Files of a
folder that was copied have any order, but are not this far apart."""

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe loaders both; the one in C, which most installations have, takes a tenth of the time."""

_FIGURES = {
    "train": {"train_loss": "loss"},
    "validation": {"validation_accuracy": "accuracy", "validation_loss": "loss"},
    "test": {"test_accuracy": "accuracy", "test_loss": "loss"},
}
"""Split -> figure of the summary -> its name in the split's last record."""


@dataclass(frozen=True)
class RunFacts:
    """What the files of a run say.

    Attributes:
        status: ``failed`` if the manifest tells none, or if a run that ended lacks its end.
        manifest: As much of manifest.json as can be used.
        summary: The final figures, by the names of `RunSummary`; empty if there are none.
        problems: A sentence on each file that is missing, damaged, or disagrees with metrics.jsonl.
        is_other: Whether the folder has the name of another run than its manifest: it was copied or renamed.
        has_ended: Whether the manifest or the records say that the run came to an end.
    """

    status: Status
    manifest: dict[str, Any]
    summary: dict[str, Any]
    problems: tuple[str, ...]
    is_other: bool
    has_ended: bool

    @property
    def is_usable(self) -> bool:
        """Whether this is the result of the run that the folder is named after."""
        return self.status in ENDED and not self.is_other


def read_facts(path: Path, is_locked: Callable[[], bool]) -> RunFacts:
    """Read the manifest, the summary and the last records of a run.

    Args:
        path: The folder of the run.
        is_locked: Returns whether a process trains the run now.

    Raises:
        FileNotFoundError: The folder is not there, or a process is about to begin it.
    """
    root = f"{path}{os.sep}"  # a file's path as text takes a tenth of the time of path / name
    manifest, problems = read_what_fits(f"{root}manifest.json", MANIFEST)
    if problems and not manifest and (not path.exists() or (not (path / "manifest.json").exists() and is_locked())):
        raise FileNotFoundError(path)
    status: Status | None = manifest.get("status")
    if status == "running" and not is_locked():
        manifest["status"] = status = "interrupted"
    if status is None and not problems:
        problems.append("manifest.json says no status")
    run_id = manifest.get("run_id")
    is_renamed = run_id is not None and run_id != path.name
    is_other = is_renamed and bool(_RUN_ID.search(path.name))
    if is_renamed:
        problems.append(f"manifest.json is that of {run_id}: the folder was copied or renamed")
    elif not _fits_name(manifest.get("config", {}), path.name):
        problems.append("manifest.json has other settings than the run's name")
    problems += _find_edited_config(root, manifest)
    summary, wrong = read_what_fits(f"{root}summary.json", SUMMARY)
    if status in ENDED or wrong != ["summary.json is missing"]:
        problems += wrong
    if status is not None and (status == "running" or (status not in ENDED and not summary)):
        return RunFacts(status, manifest, {}, tuple(problems), is_other, has_ended=False)
    ending, figures, damage, end = _read_ending(root)
    if not damage and "steps" not in figures:
        damage = "metrics.jsonl cannot be read: it holds no records"
    if not damage and status in ENDED and ending is None:
        damage = f"metrics.jsonl stops at step {figures['steps']}, without the end of the run"
    if damage:
        return RunFacts("failed", manifest, {}, (*problems, damage), is_other, has_ended=status in ENDED)
    if status in ENDED and ending != status:
        problems.append(f"manifest.json says {status}, metrics.jsonl {ending}")
        status = ending
    elif status not in ENDED and summary.get("steps") is not None:
        figures["steps"] = summary["steps"]  # a run that was stopped may have made steps since its last record
    problems += [
        f"summary.json says {name} {summary[name]}, metrics.jsonl {value}"
        for name, value in figures.items()
        if name in summary and summary[name] != value
    ]
    if torn := find_torn_line("metrics.jsonl", end, manifest.get("records_bytes") if status in ENDED else None):
        problems.append(torn)
    if "duration_s" not in summary:
        figures["duration_s"] = manifest.get("duration_s")
    return RunFacts(
        status or "failed", manifest, {**summary, **figures}, tuple(problems), is_other, has_ended=ending is not None
    )


def _find_edited_config(root: str, manifest: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with config.yaml, if it is empty or was changed after training; it is slow to read."""
    file = f"{root}config.yaml"
    try:
        edited, trained = os.stat(file), os.stat(f"{root}manifest.json")  # noqa: PTH116  (half the time of Path.stat)
        if edited.st_size and edited.st_mtime - trained.st_mtime < _EDITED_AFTER_S:
            return []
        config = read_config(Path(file))
    except OSError:  # no view of the run reads it
        return []
    except DamagedRunError as error:
        return [str(error)]
    wrong = other_settings(config, manifest.get("config", {}))
    return [wrong] if wrong else []


def read_config(path: Path) -> dict[str, Any]:
    """Return a config.yaml as plain values, unchecked: it may be older than today's schema.

    Raises:
        DamagedRunError: The file is missing or damaged; the message names the file, not its folder.
    """
    try:
        config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _YAML)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DamagedRunError(f"{path.name} cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise DamagedRunError(f"{path.name} holds no settings")
    return config


def other_settings(config: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
    """Return in what config.yaml differs from the config that a run was trained with, in words; empty if in nothing.

    Args:
        config: What config.yaml says.
        trained: What manifest.json says; empty where that is not known.
    """
    there, then = (dict(_leaves(one)) for one in (config, trained))
    changed = [key for key in {**then, **there} if repr(there.get(key)) != repr(then.get(key))]
    if not trained or not changed:
        return ""
    told = ", ".join(f"{key} is {there.get(key)}, and was {then.get(key)}" for key in changed[:_MOST_TOLD])
    more = f", and {len(changed) - _MOST_TOLD} more" if len(changed) > _MOST_TOLD else ""
    return f"config.yaml was changed after training: {told}{more}"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _fits_name(config: dict[str, Any], name: str) -> bool:
    """Return whether norm, learning rate and seed are those of a run's id, as far as both tell them."""
    if not _RUN_ID.search(name):
        return True
    norm, rate, seed = config.get("norm"), config.get("optim"), config.get("seed")
    norm = norm.get("name") if isinstance(norm, dict) else norm
    rate = rate.get("lr") if isinstance(rate, dict) else None
    words = [] if norm is None else [re.sub(r"[^A-Za-z0-9_.-]+", "_", norm.rpartition(":")[2])]
    words += [] if rate is None else [f"-lr{rate:g}-".replace("+", "_")]
    words += [] if seed is None else [f"-s{seed}-"]
    return all(word in name for word in words)


def _read_ending(root: str) -> tuple[Status | None, dict[str, Any], str, FileEnd]:
    """Return how the records say that the run ended, its final figures, in what they are damaged, and their end."""
    ending: Status | None = None
    figures: dict[str, Any] = {}
    awaited = dict(_FIGURES)
    path, end = f"{root}metrics.jsonl", FileEnd(b"", 0)
    try:
        end = read_end(path)
        for record in read_last_lines(path, end):
            if not figures and record["kind"] == "end":
                ending = record["name"]
                at = record["values"].get("diverged_at_step")
                figures["diverged_at_step"] = None if at is None else int(at)
            elif record["kind"] in {"step", "eval"}:
                for figure, name in awaited.pop(record["split"], {}).items():
                    figures[figure] = record["values"].get(name)
            figures.setdefault("steps", record["step"])
            if not awaited:
                break
    except FileNotFoundError:
        return None, {}, "metrics.jsonl is missing", end
    except RunError as error:
        return None, {}, str(error).removeprefix(root.rstrip("/\\")).lstrip("/\\"), end
    return ending, figures | {figure: None for names in awaited.values() for figure in names}, "", end
