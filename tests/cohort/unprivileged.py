"""Tests of permissions as whoever the suite runs as, root among them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_WORDS = ctypes.c_uint32 * 6


@contextmanager
def unprivileged() -> Iterator[None]:
    """Inside, this thread may read what the modes of files say, and no more.

    Of root: without the capabilities that make modes mean nothing to it (capabilities(7)).
    """
    if sys.platform != "linux":
        pytest.skip("modes of files and capabilities are Linux's here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    held = _WORDS()
    assert libc.capget(header, held) == 0
    _set(libc, header, held[0] & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH), held)
    try:
        yield
    finally:
        _set(libc, header, held[0], held)


def _set(libc: ctypes.CDLL, header: ctypes.Array, effective: int, held: ctypes.Array) -> None:
    wanted = _WORDS(*held)
    wanted[0] = effective
    if libc.capset(header, wanted) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
