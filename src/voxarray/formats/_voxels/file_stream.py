"""All voxels of a file, front to back, straight into the caller's memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Shape4
from voxarray.source.base import VoxelStream
from voxarray.source.slabs import Slabs, within
from voxarray.storage.file_digest import FileDigest
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.raw_voxels import as_bytes, make_native, read_exactly

SCALED_BYTES = 8 << 20
"""Stored voxels that are held beside the output while slope and intercept are applied."""


def scaling_bytes(scaling: Scaling | None) -> int:
    """What applying a slope and an intercept holds besides the output: stored and wide numbers."""
    return 0 if scaling is None else 4 * SCALED_BYTES


class Feed(Protocol):
    """The bytes of an image, each once."""

    def read_exactly(self, view: memoryview) -> None:
        """Fill ``view`` with the next bytes."""

    def finish(self) -> None:
        """Check what only the end can tell."""


class PlainFeed:
    """The bytes of an uncompressed file from ``position`` on."""

    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self._position = position

    def read_exactly(self, view: memoryview) -> None:
        read_exactly(self._fd, view, self._position)
        self._position += len(view)

    def finish(self) -> None:
        pass


class FileStream(VoxelStream):
    """A stream of stored or scaled voxels in the order of the file.

    Args:
        identity: The file; changes of it are noticed at every read.
        feed: Makes the bytes of the voxels from a descriptor.
        stored: Type in the file.
        scaling: Slope and intercept to apply, or None.
        beside: Other files of the image, such as its header.
    """

    def __init__(
        self,
        identity: FileIdentity,
        feed: Callable[[int], Feed],
        stored: np.dtype,
        scaling: Scaling | None,
        beside: Sequence[FileIdentity] = (),
    ) -> None:
        self._identity = identity
        self._beside = beside
        self._stored = stored
        self._scaling = scaling
        self._check_beside()
        self._fd = identity.open()
        self._digest: FileDigest | None = None
        self._sha256: str | None = None
        try:
            with identity.named_in_errors():
                self._feed = feed(self._fd)
        except BaseException:
            self.close()
            raise

    def read_into(self, out: NDArray) -> None:
        self._check_open()
        with self._identity.named_in_errors():
            if self._scaling is None:
                self._fill(out)
            else:
                self._fill_scaled(out, self._scaling)
        self._identity.check(self._fd)

    def take(self, shape: Shape4) -> NDArray | None:
        # Asking whether it is of a protocol took a fiftieth of converting a small scan.
        take: Callable[[int], memoryview | None] | None = getattr(self._feed, "take", None)
        if self._scaling is not None or take is None:
            return None
        self._check_open()
        native = self._stored.newbyteorder("=")
        with self._identity.named_in_errors():
            buffer = take(math.prod(shape) * native.itemsize)
        if buffer is None:
            return None
        voxels = np.frombuffer(buffer, native).reshape(shape)
        make_native(voxels, self._stored)
        self._identity.check(self._fd)
        return voxels

    def _fill(self, out: NDArray) -> None:
        self._feed.read_exactly(as_bytes(out))
        make_native(out, self._stored)

    def _fill_scaled(self, out: NDArray, scaling: Scaling) -> None:
        for slab in Slabs.of(out.shape, self._stored.itemsize, SCALED_BYTES):
            part = out[within(slab)]
            stored = np.empty(part.shape, self._stored.newbyteorder("="))
            self._fill(stored)
            part[...] = scaling.apply(stored)

    def finish(self) -> None:
        self._check_open()
        with self._identity.named_in_errors():
            self._feed.finish()
        if self._digest is not None:
            self._sha256 = self._digest.result()
        self._identity.check(self._fd)
        self._check_beside()

    def start_digest(self) -> None:
        self._check_open()
        self._digest = self._digest or FileDigest(self._fd)

    def source_digest(self) -> str | None:
        return self._sha256

    def close(self) -> None:
        if self._digest is not None:
            self._digest.cancel()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check_beside(self) -> None:
        for identity in self._beside:
            os.close(identity.open())

    def _check_open(self) -> None:
        if self._fd < 0:
            raise StateError("this stream is closed: open the image again", code="CLOSED")
