"""Damages a file of a run's folder in any way, and holds every command that reads it to what it must do then.

A command never ends in a traceback, never shows a number that is not the run's without saying so, never sends a control
character to the terminal, and shows the run beside the damaged one as before.
"""

import contextlib
import copy
import functools
import io
import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from hypothesis import strategies as st

import bnlab
from bnlab.cli.app import app, main
from bnlab.config.compose import compose_run, compose_tree
from bnlab.errors import BnlabError
from bnlab.experiment import cohort_run, rerunning
from bnlab.report.network import recording
from bnlab.results.curves import read_best_curves
from bnlab.results.sweep import read_sweep
from bnlab.schema import RunConfig

COMMAND = typer.main.get_command(app)
"""The command line, made once: typer makes it anew for each call, which takes half of the time."""


@functools.cache
def _composed(*words: str) -> dict[str, Any]:
    return compose_tree(list(words))


def _compose_once(words: list[str]) -> dict[str, Any]:
    """Compose words as Hydra does, each list of words once: no damage of a run changes what it gives."""
    return copy.deepcopy(_composed(*words))


WORDS = ["data=synthetic", "model.depth=1", "model.width=8", "train.steps=20", "train.log_every=5", "name=mine"]
"""Of a small run with each kind of record; the diagnostics are those of cheap: shares, norms, and what is undefined."""

FIGURES = ("status", "steps", "diverged_at_step", "test_accuracy", "test_loss")
FIGURES += ("validation_accuracy", "validation_loss", "train_loss")

JSON_FILES = ("manifest.json", "summary.json", "metrics.jsonl", "timings.jsonl")
FILES = (*JSON_FILES, "config.yaml", "log.txt", "../sweep.json")

DEEP = "@deep@"
"""Stands for a value that json cannot write: lists in lists, ten thousand deep."""

ODD = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            7,
            0.99,
            1e308,
            10**30,
            10**400,
            float("nan"),
            float("inf"),
            [],
            {},
            [1, "a"],
            {"a": None},
        ),
        *("", "text", "0.99", "[/bold]", "[bold]", ":x:", "\x1b[31mred", "a\nb", "\u202e", "finished", "running", DEEP),
        *("failed", "diverged", "interrupted", "../..", "$x$"),
    ]
)

SCALES = st.floats(0, 1, exclude_max=True)
"""Which of a file's bytes, lines or values is meant, as a share of their number."""

DAMAGES = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(JSON_FILES), SCALES, ODD),
    st.tuples(st.just("key"), st.sampled_from(JSON_FILES), SCALES, ODD),
    st.tuples(st.just("whole"), st.sampled_from(FILES), SCALES, ODD),
    st.tuples(
        st.sampled_from(["missing", "cut", "lines", "noise", "zeros", "folder", "twice"]),
        st.sampled_from(FILES),
        SCALES,
        st.none(),
    ),
    st.tuples(st.sampled_from(["figure", "renamed", "user"]), st.just("."), SCALES, ODD),
)
"""What is done, to which file, where in it, and the value that comes there."""

Damage = tuple[str, str, float, Any]

GROUPS: tuple[tuple[str, ...], ...] = (
    (),
    ("_show", "_compare_as_text", "_train"),
    ("_compare", "_show_as_text", "_rerun"),
    ("_list_as_table", "_read", "_load_model"),
)
"""What reads a damaged folder besides `bnlab list runs --json`, in groups of nearly equal cost.

Reading a folder with all of them takes three times as long as with one group. Of two commands that print the same rows,
as JSON and as text, each is in a group of its own, and each group reads every file of a run.
"""


@dataclass
class Workshop:
    """Two finished runs of a sweep, one of which is damaged, looked at, and mended.

    Attributes:
        runs: The folder of all runs.
        config: That of the run that is damaged, which no damage of its folder changes.
        files: The files of the run that is damaged, as they were.
        rows: Its row, and that of the other run, as they were.
        commands: How many commands were tried.
        tracebacks: Commands that ended in one.
        silent: Wrong numbers that were shown without a word.
    """

    runs: Path
    config: RunConfig
    files: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_id: str = ""
    commands: int = 0
    tracebacks: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @classmethod
    def opened(cls, runs: Path) -> "Workshop":
        """Train the two runs."""
        for seed in (0, 1):
            bnlab.train([*WORDS, f"seed={seed}"], runs=runs)
        shop = cls(runs, compose_run([*WORDS, "seed=0"]))
        shop.rows = {row["run_id"]: row for row in json.loads(shop.say("list", "runs", "mine", "--json")[1])}
        shop.run_id = next(name for name, row in shop.rows.items() if row["seed"] == 0)
        (runs / "mine" / "sweep.json").write_text(json.dumps({"overrides": ["seed=0,1"], "runs": list(shop.rows)}))
        run = runs / "mine" / shop.run_id
        shop.files = {path.name: path.read_bytes() for path in run.iterdir() if path.name in {*FILES, "checkpoint.pt"}}
        shop.files["../sweep.json"] = (runs / "mine" / "sweep.json").read_bytes()
        return shop

    @property
    def run(self) -> Path:
        return self.runs / "mine" / self.run_id

    def say(self, *words: str) -> tuple[int, str, str]:
        """Run a command line in this process; return its exit status and both streams."""
        out, err = io.StringIO(), io.StringIO()
        status: Any = 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict("os.environ", {"BNLAB_RUNS": str(self.runs)}))
            stack.enter_context(mock.patch.object(sys, "argv", ["bnlab", *words]))
            stack.enter_context(mock.patch("bnlab.cli.app.app", COMMAND))
            stack.enter_context(mock.patch.object(recording, "compose_tree", _compose_once))
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    main()
            except SystemExit as ending:
                status = ending.code or 0
        return int(status), out.getvalue(), err.getvalue()

    def try_damages(self, damages: list[Damage], group: int | None = None) -> None:
        """Damage the run; try all commands, or the one that costs least and one group of the others.

        Args:
            damages: What is done to the run, one after another.
            group: Number of one of `GROUPS`; 0 is the command that costs least alone.
        """
        self.mend()
        for damage in damages:
            apply(damage, self.run)
        what = "; ".join(f"{kind} {name} {place:.3f} {str(value)[:20]!r}" for kind, name, place, value in damages)
        names = itertools.chain(*GROUPS) if group is None else GROUPS[group]
        for command in (self._list, *(getattr(self, name) for name in names)):
            self.commands += 1
            try:
                command(what)
            except BnlabError:
                continue
            except Exception as error:
                self.tracebacks.append(f"{command.__name__}: {what}: {type(error).__name__}: {error}")

    def mend(self) -> None:
        """Make the run as it was."""
        for path in (self.runs / "mine").iterdir():
            if path.name not in {*self.rows, ".locks", "sweep.json"} or path == self.run:
                shutil.rmtree(path)
        shutil.rmtree(self.runs / "mine" / "sweep.json", ignore_errors=True)
        self.run.mkdir()
        for name, content in self.files.items():
            (self.run / name).write_bytes(content)

    def _check(self, told: dict[str, Any], err: str, what: str) -> None:
        """Note the figures of the damaged run that are not its own, if nothing is said of the damage."""
        truth = self.rows[self.run_id]
        wrong = {key: told[key] for key in FIGURES if key in told and told[key] != truth[key]}
        if wrong and not told.get("problem") and "warning:" not in err and "error:" not in err:
            self.silent.append(f"{what}: {wrong}")

    def _check_streams(self, *streams: str) -> None:
        for text in streams:
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), f"a control character is printed: {text!r}"

    def _list(self, what: str) -> None:
        status, out, err = self.say("list", "runs", "mine", "--json")
        rows = {row["run_id"]: row for row in json.loads(out, parse_constant=_no_constant)}
        other = next(name for name in self.rows if name != self.run_id)
        assert status == 0
        assert rows.pop(other) == self.rows[other], "the other run is shown otherwise"
        for row in rows.values():
            self._check(row, err, what)
        if not rows:
            assert any(self.run.parent.glob("*")), "the run is not listed"

    def _list_as_table(self, _: str) -> None:
        self._check_streams(*self.say("list", "runs", "--sort", "-test_accuracy", "--where", "seed<9")[1:])

    def _show(self, what: str) -> None:
        status, out, err = self.say("show", str(self.run), "--no-figures", "--json")
        assert status in {0, 1, 2}
        assert (status == 0) != err.startswith("error:")
        if status == 0:
            self._check(json.loads(out, parse_constant=_no_constant), err, what)

    def _show_as_text(self, _: str) -> None:
        self._check_streams(*self.say("show", str(self.run), "--no-figures")[1:])

    def _compare(self, what: str) -> None:
        status, out, err = self.say("compare", "mine", "--no-figures", "--json")
        if status == 0:
            for told in json.loads(out, parse_constant=_no_constant)["runs"]:
                if told["run_id"] == self.run_id:
                    self._check(told, err, what)

    def _compare_as_text(self, _: str) -> None:
        self._check_streams(*self.say("compare", "mine", "--no-figures")[1:])

    def _read(self, _: str) -> None:
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            frame = bnlab.read_runs(self.runs / "mine")
            curves = bnlab.read_curves(self.runs / "mine")
            sweep = read_sweep(self.runs / "mine")
            for arm in sweep.read_arms().arms:
                read_best_curves(arm)
        assert len(frame) >= 1
        assert len(curves) > 0

    def _load_model(self, _: str) -> None:
        bnlab.load_model(self.run)

    def _rerun(self, _: str) -> None:
        def repeated(members: Any, *_: Any, **__: Any) -> None:
            for member in members:
                member.folder.path.mkdir(parents=True)
                for name, content in self.files.items():
                    if not name.startswith(".."):
                        (member.folder.path / name).write_bytes(content)

        with mock.patch.object(rerunning, "run_cohort", repeated):
            status, _, err = self.say("rerun", str(self.run))
        assert status in {0, 1, 2}
        self._check_streams(err)

    def _train(self, what: str) -> None:
        def trained(members: Any, *_: Any, **__: Any) -> list[Any]:
            (member,) = members
            with member.folder.opened_for_training(member.config, json.loads(self.files["manifest.json"])):
                for name, content in self.files.items():
                    if not name.startswith(".."):
                        (member.folder.path / name).write_bytes(content)
            return [member.folder.read_finished()]

        before = {path.name for path in self.run.iterdir()} if self.run.is_dir() else set()
        known = mock.patch("bnlab.config.compose.compose_typed", return_value=self.config)
        with known, mock.patch.object(cohort_run, "run_cohort", trained):
            status, out, err = self.say("train", *WORDS, "seed=0", "--json")
        assert status in {0, 1, 2}
        if status == 0:
            told = json.loads(out)
            self._check(told, err, what)
            if "summary.json" in before:
                assert {"mine.txt", "mine"} & before <= {path.name for path in self.run.iterdir()}, "files are lost"
        self._check_streams(err)


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def apply(damage: Damage, run: Path) -> None:
    """Damage a run; nothing, if an earlier damage has left nothing to damage."""
    kind, name, place, value = damage
    path = run / name
    if not path.exists() or (path.is_dir() and name != "."):
        return
    if name == ".":
        _damage_folder(kind, run, place, value)
        return
    content = path.read_bytes()
    at = int(place * len(content))
    lines = content.splitlines(keepends=True)
    line = int(place * len(lines))
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind in {"value", "key"}:
        path.write_bytes(_with_other_value(content, name, place, value, is_key=kind == "key"))
    elif kind == "whole":
        path.write_bytes(_dumped(value))
    else:
        changed = {
            "cut": content[:at],
            "lines": b"".join(lines[:line]),
            "noise": content[:at] + b"\xff\x00\x1b[2J{" + content[at + 6 :],
            "zeros": content[:at] + b"\0" * (len(content) - at),
            "twice": b"".join([*lines[: line + 1], *lines[line:]]),
        }
        path.write_bytes(changed[kind])


def _damage_folder(kind: str, run: Path, place: float, value: Any) -> None:
    if kind == "figure":
        path = run / "summary.json"
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            summary = json.loads(path.read_bytes())
            path.write_bytes(_dumped({**summary, FIGURES[int(place * len(FIGURES))]: value}))
    elif kind == "user":
        (run / "mine").mkdir(exist_ok=True)
        (run / "mine.txt").write_text("mine")
    else:
        name = re.sub(r"[\x00/]", "", str(value))[:60].strip(". \n") or "copy"
        shutil.rmtree(run.parent / f"{name}-copy", ignore_errors=True)  # of the damage before
        shutil.copytree(run, run.parent / f"{name}-copy")


def _with_other_value(content: bytes, name: str, place: float, value: Any, *, is_key: bool) -> bytes:
    """Return JSON in which one value is another one, or has another key."""
    try:
        lines = content.splitlines() if name.endswith("l") else [content]
        number = int(place * len(lines))
        tree = json.loads(lines[number])
    except (ValueError, LookupError, RecursionError):
        return content
    places = list(_places(tree))
    if not places:
        return content
    around, key = places[int(place * 7919 % 1 * len(places))]
    if is_key and isinstance(around, dict):
        moved = around.pop(key)
        if isinstance(value, str):
            around[value] = moved
    else:
        around[key] = value
    lines[number] = _dumped(tree, indent=None if name.endswith("l") else 1)
    return b"\n".join(lines) + (b"\n" if name.endswith("l") else b"")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield tree, key
        yield from _places(value)


def _dumped(value: Any, indent: int | None = 1) -> bytes:
    text = json.dumps(value, indent=indent)
    return text.replace(f'"{DEEP}"', "[" * 10_000 + "]" * 10_000).encode()
