"""SIGTERM as an exception: what is under way is dropped, and what is done is written down."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """The process was asked to end; as with Ctrl-C, no handler of mere errors takes it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM raises `Stopped` inside; once, so that cleaning up is not interrupted.

    In threads other than the main one, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Stopped
