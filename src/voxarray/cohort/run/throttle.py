"""Limits for images that one process converts at once: cores and memory.

One image alone leaves cores idle: a stream is decoded by one thread, and at the end the conversion
waits for the disk. So the next image is started as soon as one has no more voxels to encode, and
more of them if there are more cores; together they stay within the memory budget.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from voxarray.core import memory, settings

ANSWERS = 8
"""Images that may wait for an object store, besides those that are encoded. Each waits for several
answers, one after another, while a local archive waits for the disk once."""


def at_work() -> int:
    """How many images may be encoded at once."""
    return 1 + settings.threads() // 2


def at_once() -> int:
    """How many images may be converted at once, including those that wait for the disk."""
    return at_work() + (at_work() + 1) // 2


@dataclass(slots=True)
class MemoryThrottle:
    """The images that a process is converting, and those that wait for memory, in order."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: deque[object] = field(default_factory=deque)
    _peaks: dict[object, int] = field(default_factory=dict)
    _encoding: set[object] = field(default_factory=set)

    @contextmanager
    def acquire(self, peak: int | None) -> Iterator[Callable[[], None]]:
        """Wait for a turn, and have it during the body.

        Args:
            peak: Bytes that are needed, above what the process uses already; None if unknown,
                which counts as the whole budget. If no other image is converted, it always starts.

        Yields:
            The function to call when all is encoded, and only the disk is waited for.
        """
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                # In order: if smaller images could overtake a large one, it might wait for ever.
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._has_room(peak))
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
            self._peaks[turn] = _needed(peak)
            self._encoding.add(turn)

        def encoding_done() -> None:
            with self._changed:
                self._encoding.discard(turn)
                self._changed.notify_all()

        try:
            yield encoding_done
        finally:
            encoding_done()
            with self._changed:
                del self._peaks[turn]
                self._changed.notify_all()

    def _has_room(self, peak: int | None) -> bool:
        if not self._peaks:
            return True
        together = sum(self._peaks.values()) + _needed(peak)
        return len(self._encoding) < at_work() and together <= memory.budget()


def _needed(peak: int | None) -> int:
    return memory.budget() if peak is None else peak


HERE = MemoryThrottle()
"""The throttle of this process, shared by all engines."""
