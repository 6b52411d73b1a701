"""Our warnings as texts, each with its image, though several are converted at once.

Python has one place for all warnings of a process. While anybody listens, those of ours go to who
listens in the thread that warns, and all others where they would have gone.
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
    """Texts of our warnings that this thread gives meanwhile."""
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
    """Who listens in this thread; in a thread that helps one image alone, that image."""
    heard = list(_heard.values())
    return _heard.get(threading.get_ident(), heard[0] if len(heard) == 1 else None)
