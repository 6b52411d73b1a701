"""What files are recognised by: one digest for each version of the format.

Version 1 took crc32c. Most files of an archive end in their own crc32c, and the crc32c of such a
file is a constant: it proves nothing but the length. Version 2 takes xxh3-128, which a checksum
inside the file does not cancel.
"""

from __future__ import annotations

from typing import Any, Protocol

import google_crc32c
import numpy as np
import xxhash
from numpy.typing import NDArray

from voxarray.storage.store import Blob

NAME = "xxh3-128"

DIGITS = {1: 8, 2: 32}
"""Hexadecimal digits of a digest, by the version of the format."""

_PIECE = 1 << 20


class Hasher(Protocol):
    """Computes a digest of the bytes that it is given."""

    def update(self, data: Any, /) -> object: ...
    def hexdigest(self) -> str: ...


class _Crc32c:
    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes | NDArray[np.uint8], /) -> None:
        self._crc = google_crc32c.extend(self._crc, data)

    def hexdigest(self) -> str:
        return f"{self._crc:08x}"


def hasher(version: int = 2) -> Hasher:
    """The hash function of a version of the format."""
    return _Crc32c() if version == 1 else xxhash.xxh3_128()


def digest_of(data: bytes | memoryview, version: int = 2) -> str:
    """Digest of bytes in memory."""
    if version > 1:
        return xxhash.xxh3_128_hexdigest(data)
    digest = hasher(version)
    digest.update(data)
    return digest.hexdigest()


def digest_of_blob(blob: Blob, version: int = 2) -> tuple[int, str]:
    """Size and digest of an open file, read in pieces; the size is smaller if the file is short."""
    digest, count_read = hasher(version), 0
    # One buffer for all pieces: fresh ones cost more in page faults than the reading itself.
    buffer = np.empty(min(_PIECE, blob.size), np.uint8)
    while count := blob.read_into(count_read, buffer[: blob.size - count_read]):
        digest.update(buffer[:count])
        count_read += count
    return count_read, digest.hexdigest()
