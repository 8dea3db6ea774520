"""A proxy on loopback before an HTTP server that loses answers, and brings requests late, as a broken network does.

Knows nothing of what is asked.
"""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

Request = tuple[str, str, dict[str, str], bytes]


class LossyProxy:
    """Forwards to http://HOST:PORT while it is open.

    The answer of the first request of each path is lost: it was carried out, and the client sees a broken connection.
    For a path that ends with `late`, the first request of each body that `same` takes for one is held instead, its
    client sees a broken connection at once, and it is forwarded when its repetition was answered, or by `release`.
    """

    def __init__(self, target: str, *, late: str = "", same: Callable[[bytes], str] = bytes.hex, hold: bool = False):
        parts = urlsplit(target)
        self._server_address = f"{parts.hostname}:{parts.port}"
        self._late, self._same, self._hold = late, same, hold
        self._seen: set[str] = set()
        self._held: dict[str, Request] = {}
        self._lock = threading.Lock()
        self.lost: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {**dict(self.headers.items()), "Host": proxy._server_address, "Connection": "close"}
                answer = proxy._handle((self.command, self.path, headers, body))
                self.close_connection = True
                if answer is None:
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _answer

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> "LossyProxy":
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def release(self) -> int:
        """Forward what is held; returns how many requests."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for request in held:
            self._forward(request)
        return len(held)

    def _handle(self, request: Request) -> tuple[int, bytes] | None:
        path = request[1].split("?")[0]
        late = bool(self._late) and path.endswith(self._late)
        name = f"{path} {self._same(request[3])}" if late else path
        with self._lock:
            first = name not in self._seen
            self._seen.add(name)
            if first:
                self.lost.append(path)
                if late:
                    self._held[name] = request
                    return None
        answer = self._forward(request)
        if late and not self._hold:
            self.release()
        return None if first else answer

    def _forward(self, request: Request) -> tuple[int, bytes]:
        method, path, headers, body = request
        connection = http.client.HTTPConnection(self._server_address, timeout=60)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content
