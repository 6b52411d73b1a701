"""A web server with ranges, entity tags and faults, on loopback."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loopback_server import LoopbackHandler, LoopbackServer, first_and_last


class WebServer(LoopbackServer):
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
        user: ``name:password`` without which everything is forbidden, if it is not empty.
        refuses: Called with method and path: the status to answer with, 0 to answer as usual; of
            what is not there, ``absent`` is the status.
        folder_of: Called with the query: the folder that is served.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ranges = self.tags = True
        self.denied = False
        self.user = ""
        self.absent = 404
        self.refuses: Callable[[str, str], int] = lambda *_: 0
        self.folder_of: Callable[[str], Path] = lambda _: self.root
        super().__init__(_Handler)


class _Handler(LoopbackHandler):
    owner: WebServer

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
        pair = base64.b64encode(owner.user.encode()).decode()
        if owner.user and self.headers.get("Authorization") != f"Basic {pair}":
            self._refuse(401)
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
            first, last = first_and_last(wanted, size)
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
