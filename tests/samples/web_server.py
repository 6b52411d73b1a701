"""A web server with ranges, entity tags and faults, on loopback."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class WebServer:
    """Serves a folder, and does wrong what it is told to.

    Attributes:
        faults: Kinds of faults, of which one befalls a request with ``probability``: ``busy``
            (503), ``slow`` (no answer in time), ``cut`` (the body ends early), ``drop`` (no answer
            at all), ``whole`` (200 and all bytes instead of a range), ``shifted`` (another range,
            and says so).
        seen: Requests by method, and ``bytes`` sent.
        ranges: Whether ranges are heeded at all.
        tags: Whether entity tags are sent.
        denied: Whether everything is forbidden.
        refuses: Called with method and path: the status to answer with, 0 to answer as usual; of
            what is not there, ``absent`` is the status.
        folder_of: Called with the query: the folder that is served.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: tuple[str, ...] = ()
        self.probability = 0.2
        self.random = random.Random(0)
        self.seen: Counter[str] = Counter()
        self.ranges = self.tags = True
        self.denied = False
        self.absent = 404
        self.refuses: Callable[[str, str], int] = lambda *_: 0
        self.folder_of: Callable[[str], Path] = lambda _: self.root
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self) -> str:
        if self.faults and self.random.random() < self.probability:
            return self.random.choice(self.faults)
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WebServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        owner = self.owner
        owner.seen[self.command] += 1
        fault = owner.fault()
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(0.6)
        if fault == "busy" or owner.denied:
            self._refuse(403 if owner.denied else 503)
            return
        url = urlsplit(self.path)
        path = unquote(url.path).lstrip("/")
        file = owner.folder_of(url.query) / path
        status = owner.refuses(self.command, path) or (0 if file.is_file() else owner.absent)
        if status:
            self._refuse(status)
            return
        self._send(file.read_bytes(), fault)

    do_HEAD = do_GET

    def _send(self, data: bytes, fault: str) -> None:
        wanted = self.headers.get("Range") if self.owner.ranges and fault != "whole" else None
        size, body = len(data), data
        self.send_response(206 if wanted else 200)
        if wanted:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or size), size - 1)
            if fault == "shifted":
                first, last = max(0, first - 1), max(0, last - 1)
            body = data[first : last + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        if self.owner.tags:
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.owner.seen["bytes"] += len(body)
        self.wfile.write(body)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
