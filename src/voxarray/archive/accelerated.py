"""Boxes of chunks read by compiled loops: where numba is installed, and where that pays.

As in `voxarray.ops.accelerated`, loading numba costs half a second and 110 MiB, which a process
that reads little does without. Voxels and errors are the same with and without: what the loops
cannot read they leave to `voxarray.archive.reader`. The C functions that they call are those of
numcodecs, google-crc32c and the C library, by address; if one of these is not to be found, or a
trial does not give what it must, there are no compiled loops.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.blosc_frame import library
from voxarray.archive.shard import ShardHandle, ShardIndex
from voxarray.core import settings
from voxarray.core.caller_warnings import warn_caller
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.buffers import scratch_bytes
from voxarray.storage.store import FileBlob

_WORTHWHILE = 1 << 15
"""Chunks that a process reads by boxes before it loads numba, whose cost is earned back by then."""

_OVERHEAD = 1024
"""Bytes that an encoded chunk may have more than its voxels; larger ones are read without loops."""

_lock = threading.Lock()
"""Held by the thread that compiles. A child that is forked meanwhile finds it locked for ever, and
reads without the loops.
"""
_chunks = 0
"""How many chunks this process has read by boxes so far."""


@dataclass(frozen=True)
class Loops:
    """What the loops need.

    Attributes:
        read_chunks: `voxarray.archive.compiled.read_chunks`.
        functions: Addresses of the C functions.
    """

    read_chunks: Callable[..., int]
    functions: tuple[int, int, int, int]


def loops(chunks: int) -> Loops | None:
    """The loops, or None as long as NumPy is to do it.

    Args:
        chunks: About how many are read next; counted towards `_WORTHWHILE`.
    """
    global _chunks
    _chunks += chunks  # a lost update between threads costs nothing
    if _chunks < _WORTHWHILE or not _is_installed() or not settings.get("compiled-loops"):
        return None
    from voxarray.core.numba_permission import has_room, may_compile  # after many chunks only

    if not may_compile():
        return None
    if _tried.cache_info().currsize:
        return _tried()
    # What is read while another thread compiles, for seconds, is read without.
    if not has_room() or not _lock.acquire(blocking=False):
        return None
    try:
        return _tried()
    finally:
        _lock.release()


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _tried() -> Loops | None:
    """The loops, if they decode the chunks of a trial; tried once in a process."""
    if os.name != "posix" or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        functions = _addresses()
    except (AttributeError, OSError, ImportError):
        return None
    try:
        from voxarray.archive import compiled

        compiled_loops = Loops(compiled.read_chunks, functions)
        return compiled_loops if _is_right(compiled_loops) else None
    except Exception as error:  # a numba that does not fit NumPy, a full disk: reading goes on
        warn_caller(
            f"the loops that numba compiles to read archives failed ({error!r}): archives are read "
            "without them, which is slower. To hide this warning, set voxarray.compiled-loops to "
            "false",
            RuntimeWarning,
        )
        return None


def _addresses() -> tuple[int, int, int, int]:
    """Addresses of pread, crc32c_value, LZ4_decompress_safe and blosc_decompress_ctx."""
    from google_crc32c import _crc32c

    system, checksums = ctypes.CDLL(None), ctypes.CDLL(_crc32c.__file__)
    codecs = ctypes.CDLL(library().__file__)
    reading = getattr(system, "pread64", None) or system.pread
    c_functions = [reading, checksums.crc32c_value, codecs.LZ4_decompress_safe]
    c_functions.append(codecs.blosc_decompress_ctx)
    pread_address, crc_address, lz4_address, blosc_address = (
        ctypes.cast(function, ctypes.c_void_p).value or 0 for function in c_functions
    )
    return pread_address, crc_address, lz4_address, blosc_address


def _is_right(loops: Loops) -> bool:
    """Whether a chunk of LZ4 and one of zstd decode to the voxels that were encoded."""
    voxels = (np.arange(4096, dtype=np.uint16) // 7).reshape(1, 16, 16, 16)
    layout = Layout(voxels.shape, voxels.shape, voxels.shape)
    for name, shuffle in ((b"lz4", 1), (b"zstd", 2)):
        body = library().compress(voxels.reshape(-1).view(np.uint8), name, 5, shuffle, 0, 2)
        crc = google_crc32c.value(body)
        with tempfile.TemporaryFile() as file:
            file.write(body + bytes(4))
            file.flush()
            shard = ShardHandle(
                FileBlob(os.dup(file.fileno()), 0, len(body) + 4),
                ShardIndex([0], [len(body) + 4], [crc]),
            )
            out = np.empty_like(voxels)
            box = Box.of(loops, layout, [range(n) for n in out.shape], out)
            if box is None or box.read(0, 1, [shard]) != 1 or not np.array_equal(out, voxels):
                return False
    return True


@dataclass(frozen=True)
class Box:
    """A box of voxels and the memory for them.

    Attributes:
        loops: The compiled loops.
        layout: Of the array.
        starts: First voxel (n, z, y, x).
        stops: The one after the last.
        out: Address of the memory, and bytes from voxel to voxel (n, z, y, x).
        size: Bytes of a voxel.
    """

    loops: Loops
    layout: Layout
    starts: Index4
    stops: Index4
    out: tuple[int, Index4]
    size: int

    @classmethod
    def of(cls, loops: Loops, layout: Layout, ranges: Sequence[range], out: NDArray) -> Box | None:
        """The box of four ascending ranges (n, z, y, x); None if the loops cannot fill it."""
        size = out.itemsize
        steps = [s if n > 1 else size for s, n in zip(out.strides, out.shape, strict=True)]
        in_lines = size in (steps[1], steps[3]) and out.flags.writeable
        if size not in (1, 2, 4, 8) or not in_lines or not out.size:
            return None
        if any(r.step != 1 and len(r) > 1 for r in ranges):
            return None
        starts, stops = _four(r[0] for r in ranges), _four(r[-1] + 1 for r in ranges)
        address: int = out.__array_interface__["data"][0]
        return cls(loops, layout, starts, stops, (address, _four(steps)), size)

    def shards(self) -> list[Index4]:
        """Positions of the shards that it touches."""
        return list(itertools.product(*self._spans(self.layout.shard)))  # type: ignore[arg-type]

    @property
    def chunks(self) -> int:
        """Chunks that it touches."""
        return math.prod(map(len, self._spans(self.layout.chunk)))

    def _spans(self, edges: Index4) -> list[range]:
        edges_by_axis = zip(self.starts, self.stops, edges, strict=True)
        return [range(start // edge, (stop - 1) // edge + 1) for start, stop, edge in edges_by_axis]

    def read(self, first: int, stop: int, shards: Sequence[ShardHandle]) -> int:
        """Read the chunks from number ``first`` to ``stop``.

        Memory: an encoded and a decoded chunk, and a block of one.

        Returns:
            ``stop``, or the number of the first chunk that the loops cannot read.
        """
        return self.read_rows(first, stop, np.array([_row(shard) for shard in shards], np.int64))

    def read_rows(self, first: int, stop: int, table: NDArray[np.int64]) -> int:
        """As `read`, with what the loops know of each shard, (shard, 5)."""
        layout = self.layout
        spans = self._spans(layout.shard)
        decoded = math.prod(layout.chunk) * self.size
        capacity = decoded + _OVERHEAD
        return self.loops.read_chunks(
            first,
            stop,
            self.starts,
            self.stops,
            (layout.chunk, layout.chunks_per_shard),
            (_four(s.start for s in spans), _four(map(len, spans)), table),
            self.out,
            self.size,
            (
                _address("encoded", capacity),
                capacity,
                _address("decoded", decoded),
                _address("block", decoded),
            ),
            self.loops.functions,
        )


def _four(numbers: Iterable[int]) -> Index4:
    n, z, y, x = numbers
    return n, z, y, x


def _address(purpose: str, size: int) -> int:
    address: int = scratch_bytes(purpose, size).__array_interface__["data"][0]
    return address


def _row(shard: ShardHandle) -> tuple[int, int, int, int, int]:
    """What `voxarray.archive.compiled.read_chunks` knows of a shard."""
    blob, (where, lengths, crcs) = shard.blob, shard.addresses()
    assert isinstance(blob, FileBlob)  # noqa: S101
    return blob.fd, blob.start, where, lengths, crcs
