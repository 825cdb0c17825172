"""The folders under runs/: the only module that knows their file names.

::

    runs/<sweep or "single">/<run id>/
        config.yaml       every value, resolved
        manifest.json     status, command, versions, hardware, times, and the config again, quick to read
        metrics.jsonl     the truth: one record a line, no wall-clock fact
        timings.jsonl     what the clock said
        summary.json      final figures
        log.txt           messages, and the traceback of a failure
        checkpoint.pt     tensors and plain values; the final weights
        events.out.tfevents.*    the TensorBoard view, which can be rebuilt

Whole files are written beside their place and moved there, so that a reader never sees half of one. A lock says
that a process is alive; it is freed when that process dies, however it dies.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from bnlab.errors import DataError, RunError
from bnlab.records import Record, RunSummary
from bnlab.schema import RunConfig

SCHEMA_VERSION = 1
"""Of the files, and of the numbers: raised whenever the same config would no longer give the same ones."""

_CANNOT_CHANGE_NUMBERS = ("name", "device", "threads", "loggers", "sweep")


def runs_root(given: Path | None = None) -> Path:
    """Return the folder that runs go to: the given one, else BNLAB_RUNS, else ./runs."""
    return (given or Path(os.environ.get("BNLAB_RUNS") or "runs")).absolute()


def run_id(config: RunConfig) -> str:
    """Return the name of a run's folder: what a reader looks for first, then a hash of all that matters.

    The hash covers whatever can change the numbers and nothing else, so that the same config finds its results
    again.

    Raises:
        DataError: ``data.path`` cannot be read.
    """
    facts = config.as_dict()
    for key in _CANNOT_CHANGE_NUMBERS:
        del facts[key]
    del facts["data"]["root"]
    del facts["train"]["checkpoint_every"]
    facts["schema_version"] = SCHEMA_VERSION
    if config.data.path is not None:
        facts["data"]["path"] = fingerprint(Path(config.data.path))
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    norm = config.norm.name.rpartition(":")[2]
    name = f"{norm}-{config.model.name}-{config.data.name}-lr{config.optim.lr:g}-s{config.seed}"
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{digest}"


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"data.path={path} cannot be read: {error.strerror}. Give the path of an .npz file.") from error


class RunFolder:
    """One run on disk.

    Args:
        path: Its folder, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open_files: dict[str, IO[str]] = {}

    @property
    def log_path(self) -> Path:
        """Where the run's messages go."""
        return self.path / "log.txt"

    @property
    def checkpoint_path(self) -> Path:
        """Where its weights are."""
        return self.path / "checkpoint.pt"

    @contextlib.contextmanager
    def opened_for_training(self, config: RunConfig, manifest: dict[str, Any]) -> Iterator[None]:
        """Hold the run's lock; begin with an empty folder; keep an older finished result until there is a new one.

        Args:
            config: Written to config.yaml.
            manifest: Written to manifest.json, with status ``running``.

        Raises:
            RunError: Another process is training this run.
        """
        with self._locked():
            set_aside = self.path.parent / ".replaced" / self.path.name
            if set_aside.exists():  # a process died between the two moves below
                shutil.rmtree(self.path, ignore_errors=True)
                set_aside.rename(self.path)
            if self.read_finished() is not None:
                set_aside.parent.mkdir(exist_ok=True)
                self.path.rename(set_aside)
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            self._write("config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
            self.write_manifest({**manifest, "status": "running", "config": config.as_dict()})
            try:
                yield
            finally:
                for file in self._open_files.values():
                    file.close()
                self._open_files.clear()
                if set_aside.exists():
                    if self.read_finished() is None:
                        shutil.rmtree(self.path)
                        set_aside.rename(self.path)
                    else:
                        shutil.rmtree(set_aside)
                    with contextlib.suppress(OSError):  # another run's may still be there
                        set_aside.parent.rmdir()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._lock_path()
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                yield
        except Timeout:
            raise RunError(
                f"{self.path} is being trained by another process. Wait for it, or train another config."
            ) from None

    def _lock_path(self) -> Path:
        # beside the folder, not in it: the folder is moved while the lock is held
        return self.path.parent / ".locks" / f"{self.path.name}.lock"

    def _is_locked(self) -> bool:
        lock = self._lock_path()
        if not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except (Timeout, OSError):
            return True

    def append(self, record: Record) -> None:
        """Append a record to its file: the clock's to timings.jsonl, all others to metrics.jsonl."""
        name = "timings.jsonl" if record.kind == "timing" else "metrics.jsonl"
        if name not in self._open_files:
            self._open_files[name] = (self.path / name).open("a", encoding="utf-8", newline="\n")
        self._open_files[name].write(record_line(record) + "\n")
        self._open_files[name].flush()

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write manifest.json."""
        self._write("manifest.json", json.dumps({"schema_version": SCHEMA_VERSION, **manifest}, indent=1))

    def write_summary(self, summary: RunSummary) -> None:
        """Write summary.json; where the folder lies is left to whoever reads it, since folders move."""
        facts = summary.as_dict()
        del facts["folder"], facts["cached"]
        self._write("summary.json", json.dumps(facts, indent=1))

    def _write(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path / name)

    def read_manifest(self) -> dict[str, Any]:
        """Return manifest.json; a run that says it is running, but whose process is gone, was interrupted.

        Raises:
            RunError: There is no manifest, or it is damaged.
        """
        manifest = self._read_json("manifest.json")
        if manifest.get("status") == "running" and not self._is_locked():
            manifest["status"] = "interrupted"
        return manifest

    def read_summary(self) -> dict[str, Any]:
        """Return summary.json, or nothing where the run did not come that far."""
        return self._read_json("summary.json") if (self.path / "summary.json").exists() else {}

    def read_finished(self) -> RunSummary | None:
        """Return the result of a run that came to its end, finished or diverged; else None."""
        try:
            status = self.read_manifest()["status"]
            if status not in {"finished", "diverged"}:
                return None
            return RunSummary(**self._read_json("summary.json"), folder=str(self.path), cached=True)
        except (RunError, KeyError, TypeError):
            return None

    def read_config(self) -> dict[str, Any]:
        """Return config.yaml as plain values, unchecked: it may be older than today's schema.

        Raises:
            RunError: It is not there, or damaged.
        """
        try:
            config: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise RunError(f"{self.path} is not a run's folder: config.yaml cannot be read ({error})") from error
        return config

    def read_records(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of metrics.jsonl as dictionaries; a last line cut off by a crash is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / name} cannot be read: {error}") from error
        return facts


def record_line(record: Record) -> str:
    """Return a record as one line of JSON; what JSON cannot say stands as null, and beside it in words.

    Example:
        >>> from bnlab.records import StepRecord
        >>> record_line(StepRecord(step=3, values={"loss": float("inf")}))[49:]
        '"values": {"loss": null}, "nonfinite": {"loss": "inf"}}'
    """
    facts: dict[str, Any] = {"kind": record.kind, "step": record.step, "split": record.split, "name": record.name}
    odd = {key: str(value) for key, value in record.values.items() if not math.isfinite(value)}
    facts["values"] = {key: None if key in odd else value for key, value in record.values.items()}
    if odd:
        facts["nonfinite"] = odd
    return json.dumps(facts)


def find_run_folders(root: Path) -> list[RunFolder]:
    """Return the run folders at or below a path, in the order of their names."""
    if (root / "manifest.json").exists():
        return [RunFolder(root)]
    found = (path.parent for pattern in ("*/manifest.json", "*/*/manifest.json") for path in root.glob(pattern))
    return [RunFolder(path) for path in sorted(found) if not path.parent.name.startswith(".")]


def read_run_rows(root: Path) -> list[dict[str, Any]]:
    """Return one flat row per run at or below a path: identity, status, final figures, config.

    Reads JSON only, and never holds an old config against today's schema. The columns of the config are its
    dotted keys; the norm's, model's, data's and optimizer's names go by ``norm``, ``model``, ``data``, ``optim``.
    """
    rows = []
    for folder in find_run_folders(root):
        manifest = folder.read_manifest()
        summary = folder.read_summary()
        config = flatten(manifest.get("config", {}))
        for group in ("norm", "model", "data", "optim", "schedule", "diagnostics"):
            config[group] = config.pop(f"{group}.name", None)
        sweep = config.pop("name", None)
        head = {"run_id": folder.path.name, "status": manifest.get("status"), "seed": config.pop("seed", None)}
        lead = {key: config.pop(key) for key in ("norm", "model", "data", "optim.lr") if key in config}
        figures = {key: value for key, value in summary.items() if key not in {"run_id", "status", "seed"}}
        times = {"started": manifest.get("started"), "folder": str(folder.path), "sweep": sweep}
        rows.append({**head, **lead, **figures, **times, **config})
    return rows


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by their dotted keys.

    Example:
        >>> flatten({"optim": {"lr": 0.1}, "seed": 0})
        {'optim.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_sweep(folder: Path, overrides: list[str], run_ids: list[str]) -> None:
    """Write a sweep's sweep.json: what was asked for, and its runs in order."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / ".sweep.json.tmp"
    beside.write_text(json.dumps({"overrides": overrides, "runs": run_ids}, indent=1), encoding="utf-8")
    beside.replace(folder / "sweep.json")
