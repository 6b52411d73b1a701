"""The allocator's heap: what was freed in it and is kept for later."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _library() -> Any:
    """The C library, if it can give freed memory back: glibc can."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def trim() -> None:
    """Give freed memory back to the system; a few milliseconds.

    Large arrays that come and go among small ones leave holes that the next does not fit into: of
    predictions of 12.5 MiB, two at a time, 100 MiB were held after three hundred.
    """
    library = _library()
    if library is not None:
        library.malloc_trim(0)
