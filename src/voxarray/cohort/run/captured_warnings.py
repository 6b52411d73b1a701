"""Collecting voxarray's warnings for each image, while several images are converted at once.

Python has one `showwarning` for a whole process. While a thread collects, the warnings of voxarray
go to the collector of the thread that warns, and all other warnings where they went before.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from voxarray.core.errors import VoxarrayWarning

_lock = threading.Lock()
_heard: dict[int, list[str]] = {}
_before: list[warnings.catch_warnings[Any]] = []


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collect the texts of voxarray's warnings that this thread gives in the body."""
    texts: list[str] = []
    with _lock:
        if not _heard:
            _listen()
        _heard[threading.get_ident()] = texts
    try:
        yield texts
    finally:
        with _lock:
            del _heard[threading.get_ident()]
            if not _heard:
                _before.pop().__exit__(None, None, None)


def _listen() -> None:
    _before.append(warnings.catch_warnings())
    _before[-1].__enter__()
    warnings.simplefilter("always", VoxarrayWarning)
    show = warnings.showwarning

    def hear(message: Any, category: type[Warning], *arguments: Any, **more: Any) -> None:
        texts = _listener() if issubclass(category, VoxarrayWarning) else None
        if texts is None:
            show(message, category, *arguments, **more)
        else:
            texts.append(str(message))

    warnings.showwarning = hear


def _listener() -> list[str] | None:
    """The collector of this thread.

    A helper thread has none. If only one image is converted, its collector is taken; else None.
    """
    listeners = list(_heard.values())
    return _heard.get(threading.get_ident(), listeners[0] if len(listeners) == 1 else None)
