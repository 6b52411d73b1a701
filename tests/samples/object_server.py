"""As much of S3 as is needed here, in memory, with atomic conditions, latency and faults.

It is quicker than moto's server, which checks what it says: slow tests run with both.
"""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from loopback_server import LoopbackHandler, LoopbackServer, first_and_last

_MODIFIED = "Sat, 28 Nov 2026 12:00:00 GMT"


class ObjectServer(LoopbackServer):
    """Buckets in memory.

    Attributes:
        faults: Kinds of faults, of which one befalls a request with ``probability``: ``busy`` (503,
            nothing is done), ``lost`` (done, and no answer comes), ``cut`` (done, and half of the
            answer comes), ``conflict`` (409, nothing is done).
        delay: Seconds that each request takes longer.
        seen: Requests by method.
        paths: Requests, in order.
        before: Called with each request before it is served.
        refuses: Called with each request: status and body to answer with, or None.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.paths: list[str] = []
        self.before = lambda _: None
        self.refuses: Callable[[str], tuple[int, bytes] | None] = lambda _: None
        self.objects = SortedObjects()
        self.lock = threading.Lock()
        super().__init__(_Handler)


class SortedObjects(MutableMapping[str, bytes]):
    """Objects by name, which are kept in order: a store lists some without looking at all."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self._names: list[str] = []

    def __getitem__(self, name: str) -> bytes:
        return self._data[name]

    def __setitem__(self, name: str, data: bytes) -> None:
        if name not in self._data:
            bisect.insort(self._names, name)
        self._data[name] = data

    def __delitem__(self, name: str) -> None:
        del self._data[name]
        del self._names[bisect.bisect_left(self._names, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def beginning_with(self, prefix: str, after: str = "") -> Iterator[str]:
        """Names that begin so, of those that come after another one, in order."""
        start = bisect.bisect_left(self._names, prefix)
        if after >= prefix:
            start = bisect.bisect_right(self._names, after)
        for number in range(start, len(self._names)):
            name = self._names[number]
            if not name.startswith(prefix):
                return
            yield name


def tag_of(data: bytes) -> str:
    """The tag of an object, which a store knows, and computes only once."""
    known = _tags.get(id(data))
    if known is None or known[0] is not data:
        if len(_tags) >= _MOST_TAGS:
            _tags.clear()
        known = _tags[id(data)] = data, f'"{hashlib.md5(data).hexdigest()}"'
    return known[1]


_tags: dict[int, tuple[bytes, str]] = {}
_MOST_TAGS = 4096


def listing(
    objects: SortedObjects, bucket: str, query: dict[str, str], tag: Callable[[str], str]
) -> bytes:
    """The answer to a request for names of objects; ``tag`` gives the tag of a name."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = query.get("continuation-token") or query.get("start-after", "")
    start = f"{bucket}/"
    rows, folders, token = [], {}, ""
    for name in objects.beginning_with(start + prefix, start + after if after else ""):
        key = name[len(start) :]
        if len(rows) >= 1000:
            token = rows[-1]
            break
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            folders[prefix + rest.split(delimiter)[0] + delimiter] = True
        else:
            rows.append(key)
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[start + key])}</Size>"
        f"<LastModified>2026-11-28T12:00:00.000Z</LastModified>"
        f"<ETag>{escape(tag(start + key))}</ETag></Contents>"
        for key in rows
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders
    )
    more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    return (
        f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(rows)}</KeyCount>"
        f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>{more}{entries}{common}"
        "</ListBucketResult>"
    ).encode()


class _Handler(LoopbackHandler):
    disable_nagle_algorithm = True
    wbufsize = -1
    owner: ObjectServer

    def do_GET(self) -> None:
        owner = self.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(body) < int(self.headers.get("Content-Length") or 0):
            self.close_connection = True  # the client was killed while it sent
            return
        owner.before(f"{self.command} {self.path}")
        owner.seen[self.command] += 1
        owner.paths.append(f"{self.command} {self.path}")
        if owner.delay:
            time.sleep(owner.delay)
        fault = owner.fault()
        if fault in ("busy", "conflict"):
            self.answer(503 if fault == "busy" else 409)
            return
        refused = owner.refuses(f"{self.command} {self.path}")
        if refused is not None:
            self.answer(*refused, {})
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        with owner.lock:
            status, data, headers = self._serve(unquote(url.path).lstrip("/"), query, body)
        if fault == "lost":
            self.close_connection = True
            return
        self.answer(status, data, headers, fault == "cut")

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _serve(self, name: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, dict]:
        objects = self.owner.objects
        if "list-type" in query:
            bucket = name.rstrip("/")
            return 200, listing(objects, bucket, query, lambda key: tag_of(objects[key])), {}
        if "delete" in query:
            named = [one.text for one in ElementTree.fromstring(body).iter() if "Key" in one.tag]
            for key in named:
                objects.pop(f"{name.rstrip('/')}/{key}", None)
            gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in named)
            return 200, f"<DeleteResult>{gone}</DeleteResult>".encode(), {}
        if self.command == "DELETE":
            objects.pop(name, None)
            return 204, b"", {}
        if self.command == "PUT":
            return self._put(name, body)
        if name not in objects:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        return self._get(objects[name])

    def _put(self, name: str, body: bytes) -> tuple[int, bytes, dict]:
        objects, expected = self.owner.objects, self.headers.get("If-Match")
        there = objects.get(name)
        if there is not None and self.headers.get("If-None-Match") == "*":
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>", {}
        if expected is not None and there is None:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        if expected is not None and tag_of(there or b"") != expected:
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>", {}
        copied = self.headers.get("x-amz-copy-source")
        if copied:
            body = objects[unquote(copied).lstrip("/")]
        objects[name] = body
        tag = tag_of(body)
        answer = f"<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>" if copied else ""
        return 200, answer.encode(), {"ETag": tag}

    def _get(self, data: bytes) -> tuple[int, bytes, dict]:
        headers = {"ETag": tag_of(data), "Last-Modified": _MODIFIED}
        wanted = self.headers.get("Range")
        if not wanted:
            return 200, data, headers
        first, last = first_and_last(wanted, len(data))
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first : last + 1], headers
