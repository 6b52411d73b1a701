"""Parts of objects, asked for side by side by one thread, taken as they arrive by any.

A thread for each request costs more than the request: sixteen of them that wake up at once fight
for the interpreter and the cores (a first patch of nine requests at 10 ms took 50 to 130 ms that
way on two loaded cores, and 42 ms this way).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

from voxarray.storage.remote.event_loop import running_loop
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.obstore_objects import ObstoreObjects, obstore, stamp_of
from voxarray.storage.remote.request_slots import slots

Part = tuple[ObstoreObjects, str, int, int, Stamp]
"""Where, the key, offset, length, and the stamp that the object must have."""

Arrival = tuple[int, Any]
"""Number of a part, and its bytes; None where something was wrong: ask for it again, alone."""


class Arrivals:
    """Parts in the order in which they arrive. Several threads may iterate over one of these.

    Args:
        parts: What to ask for.
        at_once: How many may be under way or wait to be taken.
    """

    def __init__(self, parts: Sequence[Part], at_once: int) -> None:
        import asyncio

        self._queue: SimpleQueue[Arrival] = SimpleQueue()
        self._remaining, self._lock = len(parts), threading.Lock()
        self._loop = running_loop()
        self._room, self._at_once = asyncio.Semaphore(at_once), at_once
        clients = {id(part[0]): part[0].client() for part in parts}
        jobs = [(clients[id(part[0])], *part) for part in parts]
        self._all = asyncio.run_coroutine_threadsafe(self._ask(jobs), self._loop)

    def __iter__(self) -> Iterator[Arrival]:
        return self

    def __next__(self) -> Arrival:
        with self._lock:
            if not self._remaining:
                raise StopIteration
            self._remaining -= 1
        arrival = self._queue.get()
        self._loop.call_soon_threadsafe(self._room.release)
        return arrival

    def close(self) -> None:
        """Ask for nothing more."""
        self._all.cancel()

    async def _ask(self, jobs: Sequence[Any]) -> None:
        import asyncio

        async with asyncio.TaskGroup() as group:
            for number, job in enumerate(jobs):
                await self._room.acquire()
                group.create_task(self._fetch(number, *job))

    async def _fetch(self, number: int, client: Any, *part: Any) -> None:
        await slots().enter(self._at_once)
        try:
            data = await asked(client, *part)
        finally:
            slots().leave()
        self._queue.put((number, data))


async def asked(
    client: Any, objects: ObstoreObjects, key: str, start: int, length: int, expected: Stamp
) -> Any:
    """The bytes of a part; None where something was wrong: ask for it again, alone."""
    import asyncio

    try:
        options: Any = {"range": (start, start + length)}
        response = await obstore().get_async(client, objects._path(key), options=options)
        body = await response.bytes_async()
        is_right = len(body) == length and expected.fits(stamp_of(response.meta))
    except asyncio.CancelledError:
        raise
    except BaseException:  # also a panic of Rust; whoever asks again says what is wrong
        return None
    return body if is_right else None
