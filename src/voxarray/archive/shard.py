"""One shard: a file of encoded chunks with its index, written once, read in place.

Zarr 3 ``sharding_indexed`` with the index at the end: per chunk an offset and a length as
little-endian 64-bit integers, all bits set for a chunk that is absent, then the crc32c of the
index. An absent chunk is background by the writer's word, which the checksum protects; an absent
*shard* is damage, so an all-background shard is a file too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import ArchiveError, ChecksumError, FormatError, TruncatedError
from voxarray.storage.store import Blob

ABSENT = 0xFFFF_FFFF_FFFF_FFFF
_CRC_BYTES = 4


def index_size(chunks: int) -> int:
    """Bytes of the index of a shard of this many chunks, with its crc32c."""
    return chunks * 16 + _CRC_BYTES


@dataclass(slots=True)
class ShardWriter:
    """Appends encoded chunks to a new file, then the index.

    Attributes:
        path: The file, which must not exist.
        slots: Chunks that fit into the shard.
        fd: Its descriptor, which whoever made this closes.
    """

    path: str
    slots: int
    size: int = field(default=0, init=False)
    crc: int = field(default=0, init=False)
    fd: int = field(default=-1, init=False)
    _index: NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        self._index = np.full((self.slots, 2), ABSENT, "<u8")
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)

    def append(self, slot: int, parts: Sequence[bytes]) -> None:
        """Write the chunk at ``slot``, given in parts; each slot once."""
        if self._index[slot, 0] != ABSENT:
            raise ArchiveError(f"chunk {slot} of {self.path} was written twice", path=self.path)
        self._index[slot] = self.size, sum(map(len, parts))
        for part in parts:
            self._write(part)

    def finish(self) -> None:
        """Write the index: the file is complete."""
        index = self._index.tobytes()
        self._write(index + google_crc32c.value(index).to_bytes(_CRC_BYTES, "little"))

    def _write(self, data: bytes) -> None:
        self.crc = google_crc32c.extend(self.crc, data)
        self.size += len(data)
        view = memoryview(data)
        while view:  # a full disk may take a part before it refuses
            view = view[os.write(self.fd, view) :]


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the chunks of a shard lie, checked against the file.

    Attributes:
        offsets: Offset of each chunk from the start of the shard; -1 for background.
        lengths: Bytes of each chunk, crc32c included.
    """

    offsets: list[int]
    lengths: list[int]

    @classmethod
    def read(cls, blob: Blob, chunks: int, path: str) -> ShardIndex:
        """Read and check the index of a shard.

        Raises:
            TruncatedError: If the shard cannot even hold its index.
            ChecksumError: If the index is not the one that was written.
            FormatError: If it points outside the shard.
        """
        tail, size = index_size(chunks), blob.size
        raw = blob.read(size - tail, tail) if size >= tail else b""
        if len(raw) != tail:
            raise TruncatedError(
                f"the shard {path} has {size} bytes, fewer than the {tail} of its index", path=path
            )
        body, crc = raw[:-_CRC_BYTES], int.from_bytes(raw[-_CRC_BYTES:], "little")
        if google_crc32c.value(body) != crc:
            raise ChecksumError(
                f"the index of the shard {path} does not have the crc32c that was written "
                f"({crc:08x}): the archive is damaged here",
                path=path,
            )
        table = np.frombuffer(body, "<u8").reshape(-1, 2)
        present = table[:, 0] != ABSENT
        ends = table[present].astype(object).sum(axis=1)  # Python ints: no wrap-around
        if len(ends) and max(ends) > size - tail:
            raise FormatError(f"the index of {path} points beyond its {size} bytes", path=path)
        offsets = np.where(present, table[:, 0], 0).astype(np.int64)
        offsets[~present] = -1
        return cls(offsets.tolist(), np.where(present, table[:, 1], 0).astype(np.int64).tolist())
