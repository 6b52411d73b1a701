"""Syncing shards to the disk, and comparing their bytes with those that were written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from voxarray.archive.digests import Hasher, hasher
from voxarray.archive.manifest import FileEntry
from voxarray.core import portable
from voxarray.core.errors import ArchiveError
from voxarray.storage.buffers import scratch

_PIECE = 1 << 20
_BYTE = np.dtype(np.uint8)


@dataclass(slots=True)
class ShardSync:
    """A file that is synced and read back while it grows; used by one thread at a time.

    Attributes:
        fd: Descriptor of the shard, closed by `finish` or `close`.
        path: The file, for messages.
        syncs: Whether it is synced here; False if the caller syncs all files at once.
        asked: Bytes up to which `advance` was requested; kept here for the caller.
    """

    fd: int
    path: str
    syncs: bool = True
    asked: int = 0
    _done: int = field(default=0, init=False)
    _digest: Hasher = field(default_factory=hasher, init=False)

    def advance(self, until: int) -> None:
        """Sync what was written and read it back as far as ``until``."""
        # Synced before it is read: after a write error some file systems drop the page from the
        # cache, so that only a later read returns what the disk really holds.
        if self.syncs:
            os.fsync(self.fd)
        buffer = scratch("sync", (1, 1, 1, _PIECE), _BYTE).reshape(-1)
        while self._done < until:
            piece = buffer[: until - self._done]
            count = portable.preadv(self.fd, [piece.data], self._done)
            if count == 0:
                break  # the file is short: `finish` compares the size
            self._digest.update(piece[:count])
            self._done += count

    def finish(self, entry: FileEntry) -> None:
        """Sync and read back the rest, compare the digest with that of the entry, and close.

        Raises:
            ArchiveError: If it reads back otherwise; ``VERIFY_FAILED``.
        """
        try:
            self.advance(entry.size)
        finally:
            self.close()
        digest = self._digest.hexdigest()
        if (self._done, digest) != (entry.size, entry.digest):
            raise ArchiveError(
                f"{self.path} was written with {entry.size} bytes and the digest {entry.digest}, "
                f"but reads back with {self._done} bytes and the digest {digest}: the disk or the "
                "memory of this machine may be faulty; check them, and convert again",
                code="VERIFY_FAILED",
                path=self.path,
            )

    def close(self) -> None:
        """Close the file, unless that has happened."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
