"""Stands before a server of S3 that others wrote, and adds latency and faults to its answers."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class FaultyProxy:
    """Passes each request on.

    Attributes:
        probability: Of a fault per request: ``busy`` (503, nothing is done), ``lost`` (done, and
            no answer comes) or ``cut`` (done, and half of the answer comes).
        delay: Seconds that each request takes longer.
        faults: How many befell requests.
    """

    def __init__(self, behind: str, delay: float, probability: float) -> None:
        self.behind = urlsplit(behind).netloc
        self.delay, self.probability = delay, probability
        self.random, self.faults = random.Random(0), 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args: object) -> None:  # clients that were killed
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    owner: FaultyProxy

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        owner, size = self.owner, int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True  # the client was killed while it sent
            return
        time.sleep(owner.delay)
        fault = ""
        if owner.random.random() < owner.probability:
            fault, owner.faults = owner.random.choice(("busy", "lost", "cut")), owner.faults + 1
        if fault == "busy":
            self._answer(503, [], b"")
            return
        # A connection for each: a server that stops waits for those that are open.
        with contextlib.closing(http.client.HTTPConnection(owner.behind)) as behind:
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            data = answer.read()
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(answer.status, answer.getheaders(), data, fault == "cut")

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        size = str(len(data))
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
            elif name.lower() == "content-length":
                size = value  # of what HEAD asks about
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        with contextlib.suppress(OSError):
            self.wfile.flush()
        if cut:
            self.close_connection = True
