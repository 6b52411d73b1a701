"""One shard: a file of encoded chunks and a tail, written once, read in place.

Zarr 3 ``sharding_indexed`` with the index at the end: per chunk an offset and a length as
little-endian 64-bit integers, all bits set for a chunk that is absent, then the crc32c of the
index. An absent chunk is background, and the checksum of the index protects that statement. An
absent *shard* is damage, so a shard of background only is a file, too.

Before the index stands a table that other readers of Zarr skip, since no entry of the index points
to it: the crc32c of each chunk, 0 for one that is absent. Table and index are the tail, whose
digest is in the manifest. So a chunk that was copied from another archive is detected, although its
own checksum is right. Version 1 has no table.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.digests import Hasher, digest_of, hasher
from voxarray.archive.manifest import FileEntry
from voxarray.core import descriptors, portable
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import ArchiveError, ChecksumError, FormatError, TruncatedError
from voxarray.storage.mapped_shard import MappedShard
from voxarray.storage.store import Blob

ABSENT = 0xFFFF_FFFF_FFFF_FFFF
_CRC_BYTES = 4

_numbers = itertools.count()
_mapping = threading.Lock()


def index_size(chunks: int) -> int:
    """Bytes of the index of a shard of this many chunks, with its crc32c."""
    return chunks * 16 + _CRC_BYTES


def tail_size(chunks: int) -> int:
    """Bytes of the table of checksums and of the index."""
    return chunks * _CRC_BYTES + index_size(chunks)


@dataclass(slots=True)
class ShardWriter:
    """Appends encoded chunks to a new file, then the tail.

    Attributes:
        path: The file, which must not exist.
        slots: Chunks that fit into the shard.
        held: Takes the bytes if the shard is to stay in memory; then no file is made.
        fd: Its descriptor, which the caller closes; -1 if there is no file.
    """

    path: str
    slots: int
    held: list[bytes] | None = None
    size: int = field(default=0, init=False)
    fd: int = field(default=-1, init=False)
    _index: NDArray[np.uint64] = field(init=False)
    _table: NDArray[np.uint32] = field(init=False)
    _digest: Hasher = field(default_factory=hasher, init=False)

    def __post_init__(self) -> None:
        self._index = np.full((self.slots, 2), ABSENT, "<u8")
        self._table = np.zeros(self.slots, "<u4")
        if self.held is not None:
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | portable.BINARY, 0o666)

    def append(self, slot: int, parts: Sequence[bytes]) -> None:
        """Write the chunk at ``slot``, once; the last of its parts is its crc32c."""
        # If it was written twice, the first copy would stay in the file, with all checksums right.
        if self._index[slot, 0] != ABSENT:
            raise ArchiveError(f"chunk {slot} of {self.path} was written twice", path=self.path)
        self._index[slot] = self.size, sum(map(len, parts))
        self._table[slot] = int.from_bytes(parts[-1], "little")
        for part in parts:
            self._write(part)

    def finish(self) -> FileEntry:
        """Write the tail, which completes the file, and return the entry for the manifest."""
        index = self._index.tobytes()
        crc: int = google_crc32c.value(index)
        tail = self._table.tobytes() + index + crc.to_bytes(_CRC_BYTES, "little")
        self._write(tail)
        return FileEntry(self.size, self._digest.hexdigest(), digest_of(tail))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        if self.held is not None:
            self.held.append(data)
            return
        view = memoryview(data)
        while view:  # a write may be partial, as on a disk that is nearly full
            view = view[os.write(self.fd, view) :]


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Offsets, lengths and checksums of the chunks of a shard, checked against the file.

    Attributes:
        offsets: Offset of each chunk from the start of the shard; -1 for background.
        lengths: Bytes of each chunk, crc32c included.
        crcs: crc32c of each chunk; None in version 1, where only the chunk itself holds it.
    """

    offsets: list[int]
    lengths: list[int]
    crcs: list[int] | None

    @classmethod
    def read(cls, blob: Blob, chunks: int, digest: str | None, path: str) -> ShardIndex:
        """Read and check the tail of a shard.

        Args:
            blob: The shard.
            chunks: Slots that it has.
            digest: Of its tail; None in version 1.
            path: The shard, for messages.

        Raises:
            TruncatedError: If the shard cannot even hold its tail.
            ChecksumError: If the tail is not the one that was written.
            FormatError: If it points outside the shard.
        """
        size = blob.size
        tail = index_size(chunks) if digest is None else tail_size(chunks)
        # Table and index by one read, since for a remote object each read is a request.
        raw = blob.read(size - tail, tail) if size >= tail else b""
        if len(raw) != tail:
            raise TruncatedError(
                f"the shard {path} has {size} bytes, but its index alone takes {tail}: the "
                f"archive is damaged here; restore it, or {MAKE_AGAIN}",
                path=path,
            )
        # Checked first: a shard that was copied from another archive has valid checksums of its
        # own, and only the digest in the manifest shows it.
        if digest is not None and digest_of(raw) != digest:
            raise ChecksumError(
                f"the index of the shard {path} does not have the digest that was written "
                f"({digest}): the archive is damaged here, or this shard comes from another "
                f"archive; restore it, or {MAKE_AGAIN}",
                path=path,
            )
        crcs, index = raw[: -index_size(chunks)], raw[-index_size(chunks) :]
        table = _checked(index, path)
        present = table[:, 0] != ABSENT
        ends = table[present].astype(object).sum(axis=1)  # Python ints: no wrap-around
        if len(ends) and max(ends) > size - tail:
            raise FormatError(
                f"the index of the shard {path} points beyond the end of the shard ({size} bytes): "
                f"the archive is damaged here; restore it, or {MAKE_AGAIN}",
                path=path,
            )
        # An absent chunk has all 64 bits set, which does not fit into int64.
        offsets = np.where(present, table[:, 0], 0).astype(np.int64)
        offsets[~present] = -1
        lengths = np.where(present, table[:, 1], 0).astype(np.int64)
        return cls(
            offsets.tolist(),
            lengths.tolist(),
            None if digest is None else np.frombuffer(crcs, "<u4").tolist(),
        )


def _checked(index: bytes, path: str) -> NDArray[np.uint64]:
    """The offsets and lengths in the bytes of an index."""
    body, crc = index[:-_CRC_BYTES], int.from_bytes(index[-_CRC_BYTES:], "little")
    if google_crc32c.value(body) != crc:
        raise ChecksumError(
            f"the index of the shard {path} does not have the crc32c that was written "
            f"({crc:08x}): the archive is damaged here; restore it, or {MAKE_AGAIN}",
            path=path,
        )
    return np.frombuffer(body, "<u8").reshape(-1, 2)


class ShardHandle:
    """An open shard with its checked index; it is closed when the last reference is dropped.

    Attributes:
        blob: The shard's bytes.
        index: Where its chunks lie.
        number: Unique in this process.
    """

    __slots__ = ("_addresses", "_mapped", "_tables", "blob", "index", "number")

    def __init__(self, blob: Blob, index: ShardIndex) -> None:
        self.blob, self.index, self.number = blob, index, next(_numbers)
        self._mapped: MappedShard | None = None
        self._tables: list[NDArray[np.int64]] = []
        self._addresses = (0, 0, 0)

    def addresses(self) -> tuple[int, int, int]:
        """Addresses of the offsets, lengths and checksums of its index, as arrays of int64.

        They are valid as long as this handle exists; the last is 0 if there are no checksums.
        """
        if not self._tables:
            with _mapping:  # another thread may use the addresses of tables that would be replaced
                if not self._tables:
                    index = self.index
                    columns = [index.offsets, index.lengths, index.crcs or ()]
                    tables = [np.array(numbers, np.int64) for numbers in columns]
                    places = (table.__array_interface__["data"][0] for table in tables)
                    offsets, lengths, crcs = places
                    self._addresses = offsets, lengths, 0 if index.crcs is None else crcs
                    self._tables = tables  # last: who finds them takes the addresses
        return self._addresses

    def mapped(self) -> MappedShard | None:
        """The bytes as memory, mapped at the first call; None if that is not possible.

        The blob is then closed, since the map has a descriptor of its own.
        """
        if self._mapped is None:
            with _mapping:  # once: each map keeps its own list of checked chunks
                if self._mapped is None:
                    self._mapped = descriptors.with_room(self.blob.mapped)
                    if self._mapped is not None:
                        self.blob.close()
        return self._mapped

    def __del__(self) -> None:
        if self._mapped is None:
            self.blob.close()


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _mapping
    _mapping = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
