"""What a network needs beside its input and output: measured, for no two networks tell it alike."""

from __future__ import annotations

import threading
from types import TracebackType

from voxarray.core import heap, memory

_SECONDS = 0.001
"""Between two looks: layers of a network take longer."""


class ResidentPeak:
    """The most memory that this process has while something runs, seen from another thread.

    The kernel keeps an exact peak, but of the whole process, and to reset it would take it from
    whoever else is measuring. Zero where the system does not tell (not Linux).

    Attributes:
        grown: Bytes above what the process had in the beginning.
    """

    def __init__(self) -> None:
        self.grown = 0
        self._before = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="voxarray-resident", daemon=True)

    def __enter__(self) -> ResidentPeak:
        heap.trim()  # what was freed and is still held would be used again, unseen
        self._before = memory.resident()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        self.grown = max(self.grown, memory.resident() - self._before)
