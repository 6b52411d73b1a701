"""A server of a folder in the manner of S3, whose every answer takes some time: for reading.

python benchmarks/slow_store.py FOLDER MILLISECONDS prints its port.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


class SlowStore:
    """Objects are files, read before the first request; bucket and key are the path.

    Attributes:
        root: The folder.
        seconds: Added to each answer.
    """

    def __init__(self, root: Path, seconds: float) -> None:
        self.root, self.seconds = root, seconds
        self._files: dict[str, tuple[bytes, str]] = {}
        # Or whoever asks first would wait for the disk and the digest.
        for path in filter(Path.is_file, root.rglob("*")):
            self._file(path.relative_to(root).as_posix())

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=256)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(self.seconds)
                writer.write(self._answer(request))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        first, *lines = request.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        file = self._file(unquote(urlsplit(target).path).strip("/"))
        if file is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        data, tag = file
        size, status, extra, body = len(data), "200 OK", "", data
        if "range" in headers:
            start, _, end = headers["range"].removeprefix("bytes=").partition("-")
            if start:
                low, high = int(start), min(int(end or size), size - 1)
            else:
                low, high = max(0, size - int(end)), size - 1
            body, status = data[low : high + 1], "206 Partial Content"
            extra = f"Content-Range: bytes {low}-{high}/{size}\r\n"
        head = (
            f"HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {len(body)}\r\n{extra}"
            "Last-Modified: Sat, 28 Nov 2026 12:00:00 GMT\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else body)

    def _file(self, name: str) -> tuple[bytes, str] | None:
        if name not in self._files:
            path = self.root / name
            if not path.is_file():
                return None
            data = path.read_bytes()
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self._files[name] = data, f'"{digest}"'
        return self._files[name]


if __name__ == "__main__":
    asyncio.run(SlowStore(Path(sys.argv[1]), float(sys.argv[2]) / 1000).serve())
