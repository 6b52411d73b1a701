"""Parts of objects that are fetched before they are read: at once as few as there is room for."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voxarray.core import thread_pools
from voxarray.storage.remote.arrivals import Part, asked
from voxarray.storage.remote.event_loop import is_ending, running_loop
from voxarray.storage.remote.request_slots import slots

if TYPE_CHECKING:
    import asyncio

_LOG = logging.getLogger(__name__)

_GONE: Future[Any] = Future()
_GONE.set_result(None)


@dataclass(eq=False, slots=True)
class Prefetch:
    """One part.

    Attributes:
        part: What to ask for.
        client: What makes the request.
        most: Requests that may be under way in this process.
        room: Bytes that all fetches may hold in memory; one alone may hold more.
        keep: Takes the bytes, in a thread that may wait for the disk.
        end: Called when they are kept, or will not come.
    """

    part: Part
    client: Any
    most: int
    room: int
    keep: Callable[[Any], None]
    end: Callable[[Prefetch], None]
    is_wanted: bool = field(default=False, init=False)
    _data: Future[Any] = field(default_factory=Future, init=False)

    @property
    def start(self) -> int:
        """Offset of the first byte in the object."""
        return self.part[2]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.part[3]

    def result(self) -> Any:
        """The bytes, which are waited for; None if they were kept, or something was wrong."""
        data = self._data
        if not data.done() and not self.is_wanted:
            self.is_wanted = True
            running_loop().call_soon_threadsafe(_prefetches.prefer, self)
        return data.result()

    async def run(self) -> None:
        """Fetch and keep them."""
        data = None
        try:
            data = await asked(self.client, *self.part)
        finally:  # also when the process ends, which cancels it
            slots().end_ahead()
            self._data.set_result(data)
        try:
            if data is not None:
                pool = thread_pools.waiting_pool()
                await running_loop().run_in_executor(pool, self.keep, data)
        except Exception as error:  # the process ends; or whoever reads it finds out what is wrong
            _LOG.debug("what was fetched ahead is not kept: %s", error)
        finally:
            self._data = _GONE  # whoever reads it later has it from where it is kept
            self.end(self)


class _Prefetches:
    """Those that wait, in the order in which they are needed, and the bytes of those under way.

    Used by the thread of the event loop alone.
    """

    def __init__(self) -> None:
        self._waiting: deque[Prefetch] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0

    def add(self, new: Iterable[Prefetch]) -> None:
        slots().freed = self._begin
        self._waiting.extend(new)
        self._begin()

    def prefer(self, one: Prefetch) -> None:
        """Somebody waits for this one."""
        if one in self._waiting:
            self._waiting.remove(one)
            self._waiting.appendleft(one)
            self._begin()

    def _begin(self) -> None:
        while self._waiting and not is_ending():
            first = self._waiting[0]
            if self._bytes and self._bytes + first.size > first.room:
                return
            if not slots().begin_ahead(first.most, first.is_wanted):
                return
            self._waiting.popleft()
            self._bytes += first.size
            task = running_loop().create_task(self._run(first))
            self._tasks.add(task)  # the loop itself keeps none
            task.add_done_callback(self._tasks.discard)

    async def _run(self, one: Prefetch) -> None:
        try:
            await one.run()
        finally:
            self._bytes -= one.size
            self._begin()


_prefetches = _Prefetches()


def begin(new: Iterable[Prefetch]) -> None:
    """Fetch parts when there is room for them, in the order in which they are needed."""
    running_loop().call_soon_threadsafe(_prefetches.add, list(new))


def _forget_in_child() -> None:
    global _prefetches
    _prefetches = _Prefetches()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
