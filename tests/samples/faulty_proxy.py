"""Stands before a server of S3 that others wrote, and adds latency and faults to its answers."""

from __future__ import annotations

import contextlib
import http.client
import time
from urllib.parse import urlsplit

from loopback_server import LoopbackHandler, LoopbackServer

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class FaultyProxy(LoopbackServer):
    """Passes each request on.

    Its faults are ``busy`` (503, nothing is done), ``lost`` (done, and no answer comes) and ``cut``
    (done, and half of the answer comes).

    Attributes:
        behind: Host and port of the other server.
        delay: Seconds that each request takes longer.
        befallen: Requests that a fault befell.
    """

    def __init__(self, behind: str, delay: float, probability: float) -> None:
        super().__init__(_Handler)
        self.behind = urlsplit(behind).netloc
        self.delay, self.probability, self.befallen = delay, probability, 0
        self.faults = ("busy", "lost", "cut")


class _Handler(LoopbackHandler):
    disable_nagle_algorithm = True
    wbufsize = -1
    owner: FaultyProxy

    def do_GET(self) -> None:
        owner, size = self.owner, int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True  # the client was killed while it sent
            return
        time.sleep(owner.delay)
        fault = owner.fault()
        owner.befallen += bool(fault)
        if fault == "busy":
            self.answer(503)
            return
        # A connection for each: a server that stops waits for those that are open.
        with contextlib.closing(http.client.HTTPConnection(owner.behind)) as behind:
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            data = answer.read()
        if fault == "lost":
            self.close_connection = True
            return
        headers = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length", "0")
        self.answer(answer.status, data, headers, fault == "cut")

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET
