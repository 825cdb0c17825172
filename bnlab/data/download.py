"""Downloads files and verifies their checksums: a file gets its name only when it is complete and correct."""

import http.client
import socket
import urllib.error
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from bnlab.errors import DataError

_STALL_S = 30
"""Seconds without a byte after which a download is given up: longer than servers take to answer."""

_FAILED = (OSError, RuntimeError, http.client.HTTPException)
"""What a download raises: urllib's errors are OSErrors, torchvision's word for a wrong checksum is RuntimeError."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to be downloaded.

    Attributes:
        name: The name of the file in the folder.
        md5: The MD5 checksum of the whole file, in hexadecimal digits.
        addresses: URLs of the file, tried in turn.
    """

    name: str
    md5: str
    addresses: list[str]


def fetch(name: str, files: list[RemoteFile], folder: Path) -> None:
    """Download files into a folder; correct files in it are kept, so a second call downloads only the rest.

    torchvision shows the progress on standard error. A second process that wants the same files waits.

    Args:
        name: The name of the data set, for the message.
        files: The files to download, in order.
        folder: The folder that gets the files; it is made if missing.

    Raises:
        DataError: A file cannot be fetched from any of its addresses, or not be written.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "download.lock"):
            for file in files:
                _fetch_file(name, file, folder)
    except OSError as error:
        raise DataError(f"data={name} could not be fetched into {folder} ({_cause(error)}).\n{_WAYS_OUT}") from error
    finally:
        socket.setdefaulttimeout(before)


_WAYS_OUT = (
    "Train on images that came with bnlab, data=mnist_5k, or point at files already there, data.root=FOLDER. "
    "Running again resumes."
)


def _fetch_file(name: str, file: RemoteFile, folder: Path) -> None:
    """Fetch one file under another name, and give it its own when it is whole.

    Raises:
        DataError: None of its addresses has it.
    """
    from torchvision.datasets.utils import check_integrity, download_url  # noqa: PLC0415  (takes two seconds)

    if check_integrity(folder / file.name, file.md5):
        return
    partial = f"{file.name}.partial"
    failures = []
    for address in file.addresses:
        try:
            download_url(address, folder, partial, file.md5)
        except _FAILED as error:
            failures.append(f"{address} ({_cause(error)})")
        else:
            (folder / partial).replace(folder / file.name)
            return
    raise DataError(f"data={name} could not be fetched from {' or '.join(failures)}.\n{_WAYS_OUT}")


def _cause(error: Exception) -> str:
    """Return in a few words why."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(reason).split()) or type(error).__name__
