"""A relay on loopback in front of a server, whose open connections can be cut, as a broken tunnel cuts them.

Knows nothing of what is relayed.
"""

import contextlib
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit


class CutProxy:
    """Relays to an address http://HOST:PORT while it is open."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        self._target = (parts.hostname, parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "CutProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Cut every open connection; returns how many ends there were."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            self._close(end)
        return len(ends)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the listener was closed
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:  # cut
            pass
        finally:
            self._close(source)
            self._close(sink)

    def _close(self, end: socket.socket) -> None:
        with self._lock:
            self._open.discard(end)
        with contextlib.suppress(OSError):  # it was closed from the other side
            end.shutdown(socket.SHUT_RDWR)
        end.close()
