"""Memory that a thread uses again for every chunk: fresh large blocks cost page faults."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4

_held = threading.local()


def scratch(purpose: str, shape: Shape4, dtype: np.dtype) -> NDArray:
    """An uninitialised array that this thread had before, or has from now on, for a purpose."""
    size = int(np.prod(shape)) * dtype.itemsize
    buffer: NDArray[np.uint8] | None = getattr(_held, purpose, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_held, purpose, buffer)
    return buffer[:size].view(dtype).reshape(shape)
