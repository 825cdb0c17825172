import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_files import (
    IDX_NAMES,
    cifar_contents,
    cifar_images,
    data_config,
    idx_bytes,
    idx_contents,
    listing,
    md5,
    said,
    tar_gz,
    write_all,
)
from torchvision import datasets

from bnlab.data import download
from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.locations import cache_folder, where_found
from bnlab.data.sources import open_source
from bnlab.errors import DataError

LAST = f"{IDX_NAMES[3]}.gz"
WAYS_OUT = ["data=mnist_5k", "data.root="]


class Server:
    """Serves files from memory on the loopback, and remembers what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut_off: set[str] = set()
        self.silent = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                owner.asked.append(name)
                if owner.silent:
                    time.sleep(0.3)
                    return
                content = owner.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name in owner.cut_off else content)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.http.shutdown()
            self.thread.join()
            self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small MNIST on the server, which torchvision takes for the official one."""
    contents = idx_contents()
    server.files.update(contents)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server.address])
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, md5(content)) for name, content in contents.items()])
    return contents


@pytest.fixture
def cifar10(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small CIFAR-10 on the server, which torchvision takes for the official one."""
    contents = cifar_contents(["data_batch_1", "test_batch"], 4)
    archive = tar_gz({f"cifar-10-batches-py/{name}": content for name, content in contents.items()})
    server.files["cifar-10-python.tar.gz"] = archive
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{server.address}cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5(contents["data_batch_1"])]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(contents["test_batch"])]])
    return archive


def open_mnist() -> np.ndarray:
    source = open_source(data_config("mnist"))
    assert source.test is not None
    return np.concatenate([source.train.images, source.test.images])


def test_the_first_use_downloads_into_the_cache_and_the_second_asks_nobody(
    server: Server, mnist: dict[str, bytes], tmp_path: Path
) -> None:
    assert cache_folder() == tmp_path / "cache" / "bnlab" / "data"
    first = open_mnist()
    assert set(server.asked) == set(mnist)
    assert where_found("mnist") == str(cache_folder())
    server.asked.clear()
    before = listing(cache_folder())
    np.testing.assert_array_equal(open_mnist(), first)
    assert server.asked == []
    assert listing(cache_folder()) == before
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(first[:40], random.integers(0, 256, (40, 6, 5), np.uint8))


def test_cifar_10_is_downloaded_once(server: Server, cifar10: bytes) -> None:  # noqa: ARG001
    for _ in range(2):
        source = open_source(data_config("cifar10"))
        np.testing.assert_array_equal(source.train.images, cifar_images(8)[0][:4])
        assert set(server.asked) in ({"cifar-10-python.tar.gz"}, set())
        server.asked.clear()
    open_source(data_config("cifar10"))
    assert server.asked == []


def test_progress_is_shown_on_standard_error_alone(
    mnist: dict[str, bytes],  # noqa: ARG001
    capfd: pytest.CaptureFixture[str],
) -> None:
    open_mnist()
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("100") == 4  # percent, in tqdm's words or those torchvision has without it


def test_a_file_that_is_readable_but_not_the_official_one_is_refused_each_time(
    server: Server, mnist: dict[str, bytes]
) -> None:
    server.files[LAST] = gzip.compress(idx_bytes((np.arange(20) % 3).astype(np.uint8)))
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            open_mnist()
        said(caught.value, "data=mnist", f"{server.address}{LAST}", "corrupted", *WAYS_OUT)
    server.asked.clear()
    server.files[LAST] = mnist[LAST]
    open_mnist()
    assert set(server.asked) == {LAST}


def test_a_connection_that_breaks_off_is_an_error_and_running_again_fetches_only_the_rest(
    server: Server, mnist: dict[str, bytes]
) -> None:
    second = f"{IDX_NAMES[1]}.gz"
    server.cut_off.add(second)
    with pytest.raises(DataError) as caught:
        open_mnist()
    said(caught.value, second, *WAYS_OUT)
    server.cut_off.clear()
    server.asked.clear()
    assert open_mnist().shape == (60, 6, 5)
    assert set(server.asked) == set(mnist) - {f"{IDX_NAMES[0]}.gz"}


@pytest.mark.parametrize("name", IDX_NAMES)
def test_half_a_file_in_the_cache_is_fetched_again(server: Server, mnist: dict[str, bytes], name: str) -> None:
    whole = open_mnist()
    path = cache_folder() / "MNIST" / "raw" / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-7])
    server.asked.clear()
    np.testing.assert_array_equal(open_mnist(), whole)
    assert set(server.asked) == {path.name}
    assert path.read_bytes() == mnist[path.name]


def test_a_cache_that_an_interrupt_left_with_half_of_the_files_is_completed(
    server: Server, mnist: dict[str, bytes]
) -> None:
    names = list(mnist)
    kept = {names[0]: mnist[names[0]], f"{names[1]}.partial": mnist[names[1]][:9]}
    write_all(cache_folder() / "MNIST" / "raw", kept)
    assert where_found("mnist") is None
    assert open_mnist().shape == (60, 6, 5)
    assert set(server.asked) == set(names[1:])
    assert not list(cache_folder().rglob("*.partial"))


def test_half_an_archive_in_the_cache_is_fetched_again(cifar10: bytes) -> None:
    path = write_all(cache_folder(), {"cifar-10-python.tar.gz": cifar10[: len(cifar10) // 2]})
    assert len(open_source(data_config("cifar10")).train.labels) == 4
    assert (path / "cifar-10-python.tar.gz").read_bytes() == cifar10


def test_damage_in_the_cache_is_said_before_it_is_mended(cifar10: bytes, caplog: pytest.LogCaptureFixture) -> None:
    write_all(cache_folder(), {"cifar-10-python.tar.gz": cifar10[:99]})
    open_source(data_config("cifar10"))
    assert "cifar-10-python.tar.gz is damaged" in caplog.text


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_server_that_is_not_there_is_named_with_both_ways_out(
    server: Server,
    mnist: dict[str, bytes],  # noqa: ARG001
    cifar10: bytes,  # noqa: ARG001
    name: str,
) -> None:
    server.close()
    with pytest.raises(DataError) as caught:
        open_source(data_config(name))
    message = said(caught.value, f"data={name}", server.address, "Connection refused", *WAYS_OUT)
    assert len(message.splitlines()) == 2


def test_the_stall_limit_of_a_download_is_taken_back_after_it(
    server: Server,
    mnist: dict[str, bytes],
) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(7.5)
    try:
        open_mnist()
        assert socket.getdefaulttimeout() == 7.5
        (cache_folder() / "MNIST" / "raw" / LAST).write_bytes(mnist[LAST][:5])
        server.files.clear()
        with pytest.raises(DataError):
            open_mnist()
        assert socket.getdefaulttimeout() == 7.5
    finally:
        socket.setdefaulttimeout(before)


def test_a_server_that_falls_silent_is_given_up(
    server: Server,
    mnist: dict[str, bytes],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "_STALL_S", 0.1)
    server.silent = True
    with pytest.raises(DataError) as caught:
        open_mnist()
    said(caught.value, server.address, "timed out", *WAYS_OUT)


def test_a_file_that_the_server_does_not_have_is_named(server: Server, mnist: dict[str, bytes]) -> None:
    assert LAST in mnist
    del server.files[LAST]
    with pytest.raises(DataError) as caught:
        open_mnist()
    said(caught.value, f"{server.address}{LAST}", "Not Found", *WAYS_OUT)


def test_the_second_mirror_is_asked_when_the_first_fails(
    server: Server,
    mnist: dict[str, bytes],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/", server.address])
    assert open_mnist().shape == (60, 6, 5)


def test_a_cache_that_cannot_be_written_is_named(mnist: dict[str, bytes]) -> None:  # noqa: ARG001
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("in the way")
    with pytest.raises(DataError) as caught:
        open_mnist()
    said(caught.value, "data=mnist", str(cache_folder()), *WAYS_OUT)


def test_processes_that_want_the_same_files_fetch_them_once(server: Server, mnist: dict[str, bytes]) -> None:
    threads = [threading.Thread(target=open_mnist) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = len(server.asked)
    assert open_mnist().shape == (60, 6, 5)
    assert (len(server.asked), alone) == (alone, 2 * len(mnist))  # torchvision asks first where a file is, then for it


def _no_home(*_: object, **__: object) -> str:
    raise RuntimeError("could not determine the home directory for '~/.cache'")


@pytest.mark.parametrize("answer", [_no_home, lambda *_, **__: "~/.cache/bnlab"], ids=["new", "old platformdirs"])
def test_without_a_home_folder_nothing_is_downloaded_and_the_cure_is_named(
    answer: Callable[..., str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", answer)
    with pytest.raises(DataError) as caught:
        open_mnist()
    said(caught.value, "export XDG_CACHE_HOME=DIR", "data.root")
    assert where_found("mnist") is None
    assert content_fingerprint(data_config("mnist")) is None
    assert (server.asked, list(tmp_path.iterdir())) == ([], [])
    np.savez(tmp_path / "own.npz", x=np.zeros((30, 4)), y=np.arange(30) % 3)
    assert content_fingerprint(data_config("npz", path=str(tmp_path / "own.npz")))  # and is kept nowhere
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]
