"""Chunks of remote archives that are on their way into the cache before they are read.

By the names of the cache, each chunk is fetched by one request at a time: ahead, or by the thread
that reads it first. Who reads it meanwhile waits for that request.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.remote.arrivals import Part
from voxarray.storage.remote.prefetch import Prefetch, begin


@dataclass(frozen=True, slots=True)
class Named:
    """A chunk that is fetched.

    Attributes:
        name: In the cache.
        offset: Of its first byte in its shard.
        length: Bytes.
    """

    name: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Coming:
    """A request that was made ahead.

    Attributes:
        fetch: The request.
        start: Offset of its first byte in the shard.
    """

    fetch: Prefetch
    start: int

    def chunk(self, offset: int, length: int) -> NDArray[np.uint8] | None:
        """Bytes of a chunk, which are waited for; None if they are kept by now, or did not come."""
        data = self.fetch.result()
        return None if data is None else _chunk(data, offset - self.start, length)


@dataclass(frozen=True, slots=True)
class ByAnother:
    """A chunk that another thread fetches for its own read.

    Attributes:
        done: Set when it is in the cache, or will not be.
    """

    done: Future[None]

    def chunk(self, offset: int, length: int) -> None:  # noqa: ARG002  # as of `Coming`
        """Wait until it is kept, or did not come."""
        self.done.result()


def _chunk(data: Any, start: int, length: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)[start : start + length]


@dataclass(slots=True)
class ReadAhead:
    """What this process fetches ahead.

    Attributes:
        misses: How often something was read that was not in the cache.
        refused_by: Folder of a cache that did not keep what was fetched.
    """

    misses: int = 0
    refused_by: str = ""
    _coming: dict[str, Coming] = field(default_factory=dict)
    _read_now: dict[str, Future[None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def coming(self, name: str) -> Coming | None:
        """The request that fetches a chunk, if there is one."""
        return self._coming.get(name)

    def claim(
        self, names: Iterable[str], own: dict[str, Future[None]]
    ) -> dict[str, Coming | ByAnother]:
        """Tell that this thread fetches chunks itself, until it lets them go.

        Each read lets go of its own chunks before it waits for those of others, or two could wait
        for each other.

        Args:
            names: The chunks.
            own: Takes those of this read, which it has to let go even if it is interrupted here.

        Returns:
            Those that others fetch already.
        """
        others: dict[str, Coming | ByAnother] = {}
        with self._lock:
            for name in names:
                if name in own:  # a forged index has a chunk twice
                    continue
                if name in self._coming:
                    others[name] = self._coming[name]
                elif name in self._read_now:
                    others[name] = ByAnother(self._read_now[name])
                else:
                    own[name] = self._read_now[name] = Future()
        return others

    def let_go(self, own: Mapping[str, Future[None]]) -> None:
        """Tell that chunks of this read are in the cache, or will not be."""
        with self._lock:
            for name, done in own.items():
                if self._read_now.get(name) is done:
                    del self._read_now[name]
        for done in own.values():
            if not done.done():
                done.set_result(None)

    def is_under_way(self, name: str) -> bool:
        """Whether somebody fetches a chunk now."""
        return name in self._coming or name in self._read_now

    def fetch(
        self,
        cache: ChunkCache,
        requests: Sequence[tuple[Part, Sequence[Named]]],
        most: int,
        room: int,
    ) -> None:
        """Fetch chunks into the cache, in the background.

        Args:
            cache: Where they go.
            requests: What to ask for, and the chunks that are in it. Those with a chunk that
                somebody began to fetch meanwhile are left out.
            most: Requests that may be under way.
            room: Bytes that requests ahead may hold in memory.
        """
        clients: dict[int, Any] = {}  # of each place, for it takes as long as to make a request
        made: list[tuple[Coming, Sequence[Named]]] = []
        for part, chunks in requests:
            if id(part[0]) not in clients:
                clients[id(part[0])] = part[0].client()
            client, keep = clients[id(part[0])], self._keeper(cache, chunks)
            fetch = Prefetch(part, client, most, room, keep, self._ender(chunks))
            made.append((Coming(fetch, chunks[0].offset), chunks))
        # From here on nothing fails: who reads a chunk that is named here waits for it.
        new: list[Prefetch] = []
        with self._lock:
            for coming, chunks in made:
                if not any(self.is_under_way(chunk.name) for chunk in chunks):
                    self._coming.update((chunk.name, coming) for chunk in chunks)
                    new.append(coming.fetch)
        begin(new)

    def _keeper(self, cache: ChunkCache, chunks: Sequence[Named]) -> Callable[[Any], None]:
        first = chunks[0].offset

        def keep(data: Any) -> None:
            for chunk in chunks:
                cache.put(chunk.name, _chunk(data, chunk.offset - first, chunk.length).data)
                if not cache.holds(chunk.name):
                    self.refused_by = cache.folder  # or it would be fetched twice, again and again

        return keep

    def _ender(self, chunks: Sequence[Named]) -> Callable[[Prefetch], None]:
        def end(fetch: Prefetch) -> None:
            with self._lock:
                for chunk in chunks:
                    coming = self._coming.get(chunk.name)
                    if coming is not None and coming.fetch is fetch:
                        del self._coming[chunk.name]

        return end


_ahead = ReadAhead()


def read_ahead() -> ReadAhead:
    """That of this process."""
    return _ahead


def _forget_in_child() -> None:
    global _ahead
    _ahead = ReadAhead()  # requests, and the lock that a thread may have held, are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
