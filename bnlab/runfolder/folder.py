"""One run on disk: files written whole or line by line, a lock while it trains, and readers for all of them."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from bnlab.errors import DamagedRunError
from bnlab.records import ENDED, Record, RunSummary, Status
from bnlab.renamed import current_record
from bnlab.runfolder.figure_paths import forget_figures
from bnlab.runfolder.json_lines import in_order, lines_up_to, read_lines, read_new_lines, record_line
from bnlab.runfolder.lock import RunLock
from bnlab.runfolder.replacing import make_empty, settle
from bnlab.runfolder.run_facts import RunFacts, read_config, read_facts
from bnlab.runfolder.shapes import MANIFEST, read_object
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.schema import RunConfig

SCHEMA_VERSION = 1
"""The version of the files and of the numbers: increased when the same config would give other numbers."""

_FIGURES = frozenset(field.name for field in fields(RunSummary)) - {"run_id", "status", "folder", "seed", "cached"}


class RunFolder:
    """One run on disk.

    Args:
        path: The folder of the run, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RunLock(path)
        self._open_files: dict[str, IO[str]] = {}

    @property
    def log_path(self) -> Path:
        """The file of the run's log messages."""
        return self.path / "log.txt"

    @property
    def checkpoint_path(self) -> Path:
        """The file of the run's weights."""
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint_path(self) -> Path:
        """The file of the checkpoint before the last one, while the run trains."""
        return self.path / "checkpoint.previous.pt"

    @property
    def cohort_state_path(self) -> Path:
        """The file of a finished run's training state, while the run is trained along with its cohort."""
        return self.path / "cohort_state.pt"

    @property
    def previous_cohort_state_path(self) -> Path:
        """The file of the training state before that one."""
        return self.path / "cohort_state.previous.pt"

    @property
    def cohort_state_paths(self) -> list[Path]:
        """All files that may hold a training state of a finished run, the newest last.

        Versions before 2026-11-29 wrote company.pt; cohorts that they left unfinished resume from it.
        """
        older = [self.path / "company.previous.pt", self.path / "company.pt"]
        return [*older, self.previous_cohort_state_path, self.cohort_state_path]

    def forget_checkpoints(self) -> None:
        """Remove the files from which training could resume; the final weights stay."""
        for path in (self.previous_checkpoint_path, *self.cohort_state_paths):
            with contextlib.suppress(OSError):  # a file that stays takes room, and does no harm
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def opened_for_training(
        self, config: RunConfig, manifest: dict[str, Any], resume_at: int | None = None
    ) -> Iterator[None]:
        """Hold the run's lock; begin with an empty folder; keep an older finished result until there is a new one.

        Args:
            config: The settings of the run, written to config.yaml.
            manifest: Written to manifest.json, with status ``running``.
            resume_at: The step to resume from: records after it are removed. None: the folder is emptied.

        Raises:
            RunBusyError: Another process is training this run.
            ConfigError: The folder cannot be written to, or holds what training must not remove.
        """
        with self.locked():
            with saying_where_it_cannot_write(self.path.parent):
                if resume_at is None:
                    self._empty(manifest.get("run_id", self.path.name))
                else:
                    self._cut_back(resume_at)
                self.write_settings(config, {**manifest, "status": "running"})
            try:
                yield
            finally:
                for file in self._open_files.values():
                    with contextlib.suppress(OSError):  # a full disk: the write has raised already
                        file.close()
                self._open_files.clear()
                self._settle()

    def _empty(self, own: str) -> None:
        """Remove what an earlier training left; see `replacing.make_empty`.

        Raises:
            ConfigError: The folder holds another run, or files that bnlab did not write. Nothing is removed.
        """
        try:
            facts: RunFacts | None = self.read_facts()
        except FileNotFoundError:
            facts = None
        make_empty(self.path, own, facts, self._lock.set_aside)

    def _cut_back(self, step: int) -> None:
        """Remove the records after a step."""
        forget_figures(self.path)
        (self.path / "summary.json").unlink(missing_ok=True)
        for name in ("metrics.jsonl", "timings.jsonl"):
            self._write(name, lines_up_to(self.path / name, step))

    def _settle(self) -> None:
        settle(self.path, self._lock.set_aside, lambda: self.read_status() in ENDED)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that shows that a process trains this run; nested calls are allowed.

        Raises:
            RunBusyError: Another process holds it.
            ConfigError: The folder cannot be written to.
        """
        with self._lock.held() as is_outermost:
            if is_outermost:
                self._settle()  # a process may have died before it did this
            yield

    def is_locked(self) -> bool:
        """Return whether a process trains this run now."""
        return self._lock.is_held()

    def append(self, record: Record) -> None:
        """Append a record to its file: timing records to timings.jsonl, all others to metrics.jsonl."""
        name = "timings.jsonl" if record.kind == "timing" else "metrics.jsonl"
        if name not in self._open_files:
            self._open_files[name] = (self.path / name).open("a", encoding="utf-8", newline="\n")
        self._open_files[name].write(record_line(record) + "\n")
        self._open_files[name].flush()

    def records_size(self) -> int | None:
        """Return the bytes of metrics.jsonl, by which lines that are lost or added later are found; None: no file."""
        try:
            return (self.path / "metrics.jsonl").stat().st_size
        except OSError:
            return None

    def write_settings(self, config: RunConfig, manifest: dict[str, Any]) -> None:
        """Write config.yaml, then manifest.json, with the config in both."""
        self._write("config.yaml", config.as_yaml())
        self.write_manifest({**manifest, "config": config.as_dict()})

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write manifest.json."""
        self._write("manifest.json", _as_lines({"schema_version": SCHEMA_VERSION, **manifest}))

    def write_summary(self, summary: RunSummary) -> None:
        """Write summary.json, without the path of the folder, since folders can be moved."""
        facts = summary.as_dict()
        del facts["folder"], facts["cached"]
        self._write("summary.json", _as_lines(facts))

    def _write(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.tmp"
        try:
            beside.write_text(text, encoding="utf-8")
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        beside.replace(self.path / name)

    def read_facts(self) -> RunFacts:
        """Return what the files of the run say together, and what is wrong with them.

        Raises:
            FileNotFoundError: There is no such folder, or a process is about to begin it.
        """
        return read_facts(self.path, self.is_locked)

    def read_manifest(self) -> dict[str, Any]:
        """Return manifest.json; a run that says it is running, but whose process is gone, was interrupted.

        Raises:
            DamagedRunError: There is no manifest, or it is damaged.
        """
        manifest = read_object(self.path / "manifest.json", MANIFEST)
        if manifest.get("status") == "running" and not self.is_locked():
            manifest["status"] = "interrupted"
        return manifest

    def read_status(self) -> Status:
        """Return the status of the run; ``failed`` if it has no readable manifest, or lacks its end."""
        try:
            return self.read_facts().status
        except FileNotFoundError:
            return "failed"

    def read_finished(self) -> RunSummary | None:
        """Return the result of a run that finished or diverged, by its records; otherwise None."""
        try:
            facts = self.read_facts()
        except FileNotFoundError:
            return None
        if not facts.is_usable:
            return None
        seed = facts.manifest.get("config", {}).get("seed", facts.summary.get("seed", 0))
        figures = {key: value for key, value in facts.summary.items() if key in _FIGURES}
        return RunSummary(self.path.name, facts.status, str(self.path), seed, cached=True, **figures)

    def result_stamp(self) -> tuple[int, int] | None:
        """Return a mark that distinguishes this result from any other of the same run; None if there is no result."""
        if self.read_finished() is None:
            return None
        try:
            facts = (self.path / "metrics.jsonl").stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def manifest_stamp(self) -> int | None:
        """Return a mark that changes when the manifest is written, as when training begins; None: there is none."""
        try:
            return (self.path / "manifest.json").stat().st_mtime_ns
        except OSError:
            return None

    def read_config(self) -> dict[str, Any]:
        """Return config.yaml as plain values, unchecked: it may be older than today's schema.

        Raises:
            DamagedRunError: The file is missing or damaged.
        """
        try:
            return read_config(self.path / "config.yaml")
        except DamagedRunError as error:
            raise DamagedRunError(f"{self.path}: {error}") from error

    def read_records(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of metrics.jsonl as dictionaries; an incomplete last line is left out.

        Diagnostics have their names of today, whatever they were called when the run was trained.

        Raises:
            DamagedRunError: A complete line is damaged, or steps go back: there the records of another training begin.
                The lines before it have been yielded.
        """
        return map(current_record, in_order(self.path / "metrics.jsonl"))

    def read_new_records(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """Return the lines of metrics.jsonl behind a place, and the place behind the last one; see `read_new_lines`.

        Args:
            start: What the call before returned; 0 for the first call.
        """
        return read_new_lines(self.path / "metrics.jsonl", start)

    def read_timings(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of timings.jsonl as dictionaries; an incomplete last line is left out.

        Raises:
            DamagedRunError: A complete line is damaged; the lines before it have been yielded.
        """
        return read_lines(self.path / "timings.jsonl")


def _as_lines(facts: dict[str, Any]) -> str:
    """Return JSON with a line for each key; json's own indentation takes ten times as long, at every level."""
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}"
