"""Places that all nodes share, and places that only look like it; and an object store that is ill."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.storage_probe import DRIVER, StorageProbe, raise_unshared
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError
from orchestrator.training.checkpoint import Checkpoints
from tests.stores import key, keys, rows


@contextmanager
def ill(server: str, every: int, slow_s: float) -> Iterator[tuple[str, list[int]]]:
    """HOST:PORT of a server before `server` that answers some requests with 500 and some late; and what it answered."""
    answers: list[int] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _pass_on(self) -> None:
            body = self._body()
            with lock:
                number = len(answers)
                answers.append(500 if number % every == every - 1 else 0)
            if answers[number]:
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if number % every == 1:
                time.sleep(slow_s)
            upstream = http.client.HTTPConnection(server)
            dropped = ("transfer-encoding", "content-length", "expect", "connection")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            upstream.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            answer = upstream.getresponse()
            data = answer.read()
            answers[number] = answer.status
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            upstream.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{proxy.server_address[1]}", answers
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def test_processes_that_share_a_folder_find_each_other_and_leave_nothing(tmp_path: Path) -> None:
    probe = StorageProbe({"storage_root": str(tmp_path / "runs"), "store_root": str(tmp_path / "store")})
    seen = {DRIVER: probe.leave(DRIVER), "a": probe.look("a"), "b": probe.look("b")}
    raise_unshared({**seen, DRIVER: probe.find(["a", "b"])})
    probe.clear(["a", "b"])
    assert [list(folder.iterdir()) for folder in (tmp_path / "runs", tmp_path / "store")] == [[], []]


def test_a_folder_that_is_another_one_on_a_node_is_told(tmp_path: Path) -> None:
    here = StorageProbe({"storage_root": str(tmp_path / "here")})
    there = StorageProbe({"storage_root": str(tmp_path / "there")}, here._id, here._data)
    here.leave(DRIVER)
    with pytest.raises(ArtifactError, match="the nodes do not share their storage") as caught:
        raise_unshared({"node-1": there.look("node-1"), DRIVER: here.find(["node-1"])})
    assert "node-1 (" in str(caught.value)
    assert "the driver's file is not there, so it is another folder" in str(caught.value)
    assert "the file of node-1 is not there" in str(caught.value)


def test_a_place_that_cannot_be_written_and_one_with_other_bytes_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    probe = StorageProbe({"storage_root": str(tmp_path / "file" / "runs"), "store_root": str(tmp_path / "store")})
    (problem,) = probe.leave(DRIVER).problems
    assert problem.startswith(f"storage_root {tmp_path}/file/runs: Not a directory")
    Folder(str(tmp_path / "store" / f".probe-{probe._id}")).write(DRIVER, b"another's")
    assert any("other bytes than driver wrote" in problem for problem in probe.look("a").problems)


def test_stores_checkpoints_and_the_probe_live_with_an_object_store_that_fails_and_is_slow(
    s3_server: str, s3_uri: str
) -> None:
    with ill(s3_server, every=4, slow_s=0.1) as (address, answers):
        uri = s3_uri.replace(s3_server, address)
        probe = StorageProbe({"store_root": uri})
        raise_unshared({DRIVER: probe.leave(DRIVER), "a": probe.look("a")})
        raise_unshared({DRIVER: probe.find(["a"])})
        probe.clear(["a"])
        store = TeacherStore(uri)
        for first in range(0, 20, 10):
            numbers = list(range(first, first + 10))
            store.commit(rows(numbers), CommitRecord(id=f"b{first}", run="r", done=10))
        assert store.missing(keys(range(30))) == [key(number) for number in range(20, 30)]
        assert store.read(keys(range(20))).num_rows == 20
        with Checkpoints(uri.replace("/captions?", "/checkpoints?"), {"a": 1}) as made:
            made.claim()
            for step in (1, 2):
                made.save(step, {"step": step, "weights": torch.full((1000,), float(step))}, None)
        latest = Checkpoints(uri.replace("/captions?", "/checkpoints?"), {"a": 1}).latest()
    assert latest is not None
    assert latest["step"] == 2
    assert answers.count(500) >= 5, "the server was not ill enough to show anything"
    assert TeacherStore(s3_uri).read(keys(range(20))).num_rows == 20
