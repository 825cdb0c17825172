"""Stamps of files: by them a reader sees whether what it has read before has changed since.

A stamp is a file's inode, its time of modification in nanoseconds and its size. bnlab replaces its files whole or
appends to them, so that each change of a file changes its stamp.
"""

import hashlib
import os
from pathlib import Path

_OF_A_RUN = ("manifest.json", "summary.json", "metrics.jsonl", "config.yaml", "marks.json")
"""The files of a run from which its row is made. The first three make a folder a run's."""

_OF_A_SWEEP = ("sweep.json", *_OF_A_RUN[:3])


def stamp_of_runs(folder: Path) -> tuple[bytes, int] | None:
    """Return the stamp of all runs in a folder, and how many they are; None if the folder cannot be read.

    To look at 10,000 runs takes a fifth of the time in which they are read.

    Args:
        folder: A sweep's folder. Runs in folders of its folders are not looked at.
    """
    root, digest, num_runs = os.fspath(folder), hashlib.blake2b(digest_size=16), 0
    try:
        with os.scandir(root) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return None
    digest.update(repr([_stamp(f"{root}{os.sep}{name}") for name in _OF_A_SWEEP]).encode())
    for name in names:
        stamps = [_stamp(f"{root}{os.sep}{name}{os.sep}{file}") for file in _OF_A_RUN]
        num_runs += any(stamps[:3])
        digest.update(repr((name, stamps)).encode(errors="surrogateescape"))
    return digest.digest(), num_runs


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (half the time of Path.stat, for each of thousands of runs)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
