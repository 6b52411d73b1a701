"""A box of a remote archive whose chunks are in the cache, read by compiled loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxarray.archive.accelerated import Box
from voxarray.archive.kept_chunks import Kept
from voxarray.archive.read_jobs import Job
from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.store import FileBlob

_NO_FILE = -1
"""In place of a descriptor: no chunk is read from there."""


class KeptBox:
    """Chunks of a box that compiled loops read from the cache.

    For the loops each chunk is a shard of its own, so that they need not know of the cache.

    Args:
        cache: Where the chunks are.
        box: Its layout has shards of one chunk.
        found: Its chunks, in the order of the box.
    """

    def __init__(self, cache: ChunkCache, box: Box, found: Sequence[Kept]) -> None:
        self._cache, self._box, self._found = cache, box, found
        shards = {shard.number: shard for _, shard, _, _ in found}
        addresses = {number: shard.addresses() for number, shard in shards.items()}
        self._table = np.array([_row(one, addresses[one[1].number]) for one in found], np.int64)

    def read(self, span: range, left: list[Job]) -> None:
        """Read the chunks with some numbers.

        Args:
            span: The numbers.
            left: Takes the jobs of chunks that are gone, or that the loops cannot read.
        """
        files: list[FileBlob] = []
        try:
            for number in span:
                name = self._found[number][3]
                file = self._cache.opened(name) if name else None
                if file is not None:
                    files.append(file)
                    self._table[number, 0] = file.fd
            number = span.start
            while (number := self._box.read_rows(number, span.stop, self._table)) < span.stop:
                left.append(self._found[number][0])
                number += 1
        finally:
            self._table[span.start : span.stop, 0] = _NO_FILE
            for file in files:
                file.close()


def _row(kept: Kept, addresses: tuple[int, int, int]) -> tuple[int, int, int, int, int]:
    """What `voxarray.archive.compiled.read_chunks` knows of a shard: here, of one chunk."""
    _, shard, slot, _ = kept
    offsets, lengths, crcs = (address and address + 8 * slot for address in addresses)
    # Of its place in the shard, its place in its own file: the first byte.
    return _NO_FILE, -shard.index.offsets[slot], offsets, lengths, crcs
