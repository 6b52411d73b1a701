"""What the servers of the tests have in common: loopback, a thread, faults by a fixed seed."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """Serves on loopback, on a port that is free, while it is entered.

    Attributes:
        faults: Kinds of faults, of which one befalls a request with ``probability``.
        seen: Requests by method.
        url: Without a slash at its end.
    """

    def __init__(self, handler: type[LoopbackHandler]) -> None:
        self.faults: tuple[str, ...] = ()
        self.probability = 0.2
        self.random = random.Random(0)
        self.seen: Counter[str] = Counter()
        own: Any = type("Handler", (handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), own)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self) -> str:
        if self.faults and self.random.random() < self.probability:
            return self.random.choice(self.faults)
        return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args: object) -> None:  # clients that were killed
        pass


class LoopbackHandler(BaseHTTPRequestHandler):
    """Keeps connections, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def answer(
        self, status: int, data: bytes = b"", headers: dict | None = None, cut: bool = False
    ) -> None:
        """Send an answer; ``Content-Length`` may be given, of what HEAD asks about."""
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        with contextlib.suppress(OSError):
            self.wfile.flush()
        if cut:
            self.close_connection = True


def first_and_last(header: str, size: int) -> tuple[int, int]:
    """The bytes that ``bytes=FIRST-[LAST]`` or ``bytes=-LENGTH`` asks for, of an object's size."""
    start, _, end = header.removeprefix("bytes=").partition("-")
    if not start:
        return max(0, size - int(end)), size - 1
    return int(start), min(int(end or size), size - 1)
