"""A store in the manner of S3, in memory, whose every answer takes some time.

python benchmarks/slow_store.py MILLISECONDS [FOLDER] prints its port. The files of the folder are
its first objects: bucket and key are the path below it.

It takes as little of the cores as it can, since a real store has cores of its own: a thread for
each request, and headers parsed as those of mails, take three times as much.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "samples"))

from loopback_server import first_and_last
from object_server import SortedObjects, listing

_WORDS = {200: "OK", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed"}

_MODIFIED = "Sat, 28 Nov 2026 12:00:00 GMT"

Answer = tuple[int, bytes, dict[str, str]]
"""Status, body and headers."""


class SlowStore:
    """Buckets in memory: bucket and key are the path.

    Attributes:
        seconds: Added to each answer.
    """

    def __init__(self, seconds: float, root: Path | None) -> None:
        self.seconds = seconds
        self._objects, self._tags = SortedObjects(), dict[str, str]()
        self._numbers = itertools.count()
        # Now, or whoever asks first would wait for the disk.
        for path in () if root is None else filter(Path.is_file, root.rglob("*")):
            self._put(path.relative_to(root).as_posix(), {}, path.read_bytes())

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=256)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await asyncio.sleep(self.seconds)
                method, target, _ = first.split(" ")
                status, data, told = self._answer(method, target, headers, body)
                told |= {"Content-Length": str(len(data)), "Last-Modified": _MODIFIED}
                lines = [f"HTTP/1.1 {status} {_WORDS[status]}"]
                lines += [f"{name}: {value}" for name, value in told.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                writer.write(b"" if method == "HEAD" else data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        url = urlsplit(target)
        name, objects = unquote(url.path).strip("/"), self._objects
        query = {key: values[0] for key, values in parse_qs(url.query, True).items()}
        if "list-type" in query:
            return 200, listing(objects, name, query, self._tags.__getitem__), {}
        if "delete" in query:
            keys = [one.text for one in ElementTree.fromstring(body).iter() if "Key" in one.tag]
            for key in keys:
                objects.pop(f"{name}/{key}", None)
            return 200, b"<DeleteResult></DeleteResult>", {}
        if method == "PUT":
            return self._put(name, headers, body)
        if name not in objects:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        data, told = objects[name], {"ETag": self._tags[name]}
        if "range" not in headers:
            return 200, data, told
        first, last = first_and_last(headers["range"], len(data))
        told["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first : last + 1], told

    def _put(self, name: str, headers: dict[str, str], body: bytes) -> Answer:
        expected, is_there = headers.get("if-match"), name in self._objects
        is_other = expected is not None and expected != self._tags.get(name)
        if is_other or (is_there and headers.get("if-none-match") == "*"):
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>", {}
        self._objects[name], self._tags[name] = body, f'"{next(self._numbers)}"'
        return 200, b"", {"ETag": self._tags[name]}


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    asyncio.run(SlowStore(float(sys.argv[1]) / 1000, folder).serve())
