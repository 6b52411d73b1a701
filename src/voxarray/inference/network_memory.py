"""What a network needs beside its input and output: measured, for no two networks tell it alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from voxarray.core import heap, memory

_SECONDS = 0.001
"""Between two looks: layers of a network take longer."""


class ResidentPeak:
    """The most memory that this process has while something runs, seen from another thread.

    The kernel keeps an exact peak, but of the whole process, and to reset it would take it from
    whoever else is measuring. What other threads take meanwhile is counted, too: who must know
    looks again. Zero where the system does not tell (not Linux).

    Attributes:
        grown: Bytes, the last time, above what the process had when it was looked at first: what
            stays from one time to the next counts each time.
    """

    def __init__(self) -> None:
        self.grown = 0
        heap.trim()  # what was freed and is still held would be used again, unseen
        self._before = memory.resident()

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Look at what is done in this context."""
        self.grown = 0
        heap.trim()
        stop = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(stop,), name="voxarray-resident", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._look()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        self.grown = max(self.grown, memory.resident() - self._before)
