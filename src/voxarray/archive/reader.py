"""Reading voxels from the shards of an archive: strict, threaded, without a task graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import accelerated, checked_blocks, codecs, handle_cache
from voxarray.archive.checked_blocks import decode_small, encoded_chunk, is_small
from voxarray.archive.codecs import Codec
from voxarray.archive.documents import chunk_key
from voxarray.archive.read_jobs import FEW, Chunks, Job, needed, pieces_of, share, share_numbers
from voxarray.archive.shard import ShardHandle
from voxarray.core import descriptors, page_cache, settings, thread_pools
from voxarray.core.errors import FormatError, SourceChangedError, VoxarrayError
from voxarray.geometry.layout import Index4, Layout, chunk_bytes
from voxarray.storage.buffers import copy_rows, scratch
from voxarray.storage.mapped_shard import MappedShard
from voxarray.storage.store import FileBlob, Store

if TYPE_CHECKING:
    from voxarray.archive.remote_reads import RemoteRead

Receive = Callable[[NDArray | None, int], None]
"""Takes a chunk of voxels and their number; None if all are background."""

_SHARDS_AT_HAND = 64
"""Shards that a thread of a read keeps open besides those in the cache of the process, at most."""

_SMALL = 16
"""A box of fewer voxels than a sixteenth of a chunk is small."""


@dataclass(frozen=True, slots=True)
class ShardedArray:
    """One voxel array of an archive, (n, z, y, x).

    Attributes:
        store: Where the archive lies.
        opened: Identity of the archive when it was opened.
        key: Folder of the array in the archive.
        layout: Shape, chunks, shards.
        dtype: Native byte order.
        codec: Of the chunks.
    """

    store: Store
    opened: Hashable
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec

    def read(self, ranges: Sequence[range], out: NDArray | None = None) -> NDArray:
        """Voxels at the product of four ranges (n, z, y, x); steps may be negative.

        Memory: the result, and per thread one encoded and one decoded chunk; of a remote archive,
        encoded chunks that lie together, up to `voxarray.archive.joined_requests.LARGEST_REQUEST`.

        Args:
            ranges: Which voxels.
            out: Where they go, of their shape and type; new memory by default.

        Raises:
            VoxarrayError: If any chunk that is needed is missing, damaged or not what the
                layout says; nothing is filled in.
        """
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        flips = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        # Negative steps flip the view of the result that voxels are written into, not the voxels.
        result = np.empty([len(r) for r in ascending], self.dtype) if out is None else out[flips]
        if not self._read_by_loops(ascending, result):
            self._in_threads(ascending, lambda chunks: self._read_all(chunks, result))
        return result[flips] if out is None else out

    def scan(self, ranges: Sequence[range], start: Callable[[], Receive]) -> None:
        """Hand out the voxels at the product of four ranges, chunk by chunk in any order.

        Memory: per thread one encoded and one decoded chunk.

        Args:
            ranges: As for `read`; nothing is reversed.
            start: Called once by each thread; what it returns is given the thread's chunks: the
                voxels (n, z, y, x), valid until it returns, or None and the number of voxels
                where all are background.

        Raises:
            VoxarrayError: As `read`.
        """
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        self._in_threads(ascending, lambda chunks: self._scan_all(chunks, start()))

    def _jobs(self, ranges: Sequence[range]) -> list[Job]:
        _, z, y, x = per = self.layout.chunks_per_shard
        slots = (z * y * x, y * x, x, 1)
        _, depth, height, width = chunks = self.layout.chunk
        voxels = (depth * height * width, height * width, width, 1)
        axes = [
            list(pieces_of(*axis)) for axis in zip(ranges, chunks, per, slots, voxels, strict=True)
        ]
        return list(itertools.product(*axes))  # type: ignore[arg-type]  # four axes

    def _in_threads(self, ranges: Sequence[range], work: Callable[[Chunks], None]) -> None:
        self._refuse_bomb()
        jobs = self._jobs(ranges)
        if self.store.requests is None:
            threads = 1 if len(jobs) == 1 else min(settings.threads(), len(jobs))
            # Reading a few blocks takes less time than starting another thread.
            if threads == 1 or (self._is_small(ranges) and self._are_known(jobs)):
                work(self._chunks(jobs))
                return
            share(jobs, threads, thread_pools.pool(), lambda todo: work(self._chunks(todo)))
            return
        self._remote().share(jobs, work)

    def _remote(self) -> RemoteRead:
        from voxarray.archive.remote_reads import RemoteRead

        facts = (self.store, self.opened, self.key, self.layout, self.dtype, self.codec)
        return RemoteRead(*facts, self._shard, self._at_hand, self._named)

    def fetch_ahead(self, ranges: Sequence[range], most: int) -> int:
        """Fetch the chunks of a later `read` of a remote archive into the cache, in the background.

        Args:
            ranges: As for `read`.
            most: Bytes; if more have to be fetched, nothing is.

        Returns:
            Bytes that are fetched now.

        Raises:
            VoxarrayError: If the index of a shard cannot be read.
        """
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        return self._remote().fetch_ahead(self._jobs(ascending), most)

    @property
    def _has_blocks(self) -> bool:
        """Whether chunks consist of several blocks, which can be decoded alone."""
        return 0 < self.codec.block < chunk_bytes(self.layout, self.dtype)

    def _is_small(self, ranges: Sequence[range]) -> bool:
        """Whether a box needs only a few blocks of its chunks."""
        voxels = math.prod(len(axis) for axis in ranges)
        return self._has_blocks and voxels * _SMALL <= math.prod(self.layout.chunk)

    def _are_known(self, jobs: Sequence[Job]) -> bool:
        """Whether every chunk is background, or was read before, so that its blocks can be read."""
        if len(jobs) > FEW:
            return False
        shards: dict[Index4, ShardHandle] = {}
        for n, z, y, x in jobs:
            position = (n.shard, z.shard, y.shard, x.shard)
            shard = shards.get(position)
            if shard is None:
                shard = shards[position] = self._shard(position)
            slot = n.slot + z.slot + y.slot + x.slot
            if shard.index.offsets[slot] >= 0 and checked_blocks.known(shard.number, slot) is None:
                return False
        return True

    def _read_by_loops(self, ranges: Sequence[range], out: NDArray) -> bool:
        """Read by compiled loops, if there are any; False if nothing was read.

        A chunk that they refuse is read again without them, which raises the proper error.
        """
        if not self.codec.cname or out.dtype != self.dtype:  # without compression they are mapped
            return False
        # The loops read and check whole chunks, which takes longer than a few blocks in NumPy.
        if self._is_small(ranges):
            return False
        is_remote = self.store.requests is not None
        if is_remote and not _are_chunks_kept():  # they come by requests
            return False
        loops = accelerated.loops(1 + out.size // math.prod(self.layout.chunk))
        if loops is not None and is_remote:
            return self._read_kept(loops, ranges, out)
        box = None if loops is None else accelerated.Box.of(loops, self.layout, ranges, out)
        shards = None if box is None else self._local(box.shards())
        if box is None or shards is None:
            return False
        self._refuse_bomb()

        def read(spans: Iterable[range]) -> None:
            for span in spans:
                number = span.start
                while (number := box.read(number, span.stop, shards)) < span.stop:
                    self._read_all(self._chunks([self._jobs(ranges)[number]]), out)
                    number += 1

        share_numbers(box.chunks, read)
        return True

    def _read_kept(self, loops: accelerated.Loops, ranges: Sequence[range], out: NDArray) -> bool:
        """Read a box of a remote archive if all its chunks are in the cache; False if they are not.

        Those that go meanwhile are asked for.
        """
        layout = Layout(self.layout.shape, self.layout.chunk, self.layout.chunk)
        box = accelerated.Box.of(loops, layout, ranges, out)
        kept = None if box is None else self._remote().kept_box(box, self._jobs(ranges))
        if box is None or kept is None:
            return False
        self._refuse_bomb()
        left: list[Job] = []

        def read(spans: Iterable[range]) -> None:
            for span in spans:
                kept.read(span, left)

        share_numbers(box.chunks, read)
        if left:
            self._remote().share(left, lambda chunks: self._read_all(chunks, out))
        return True

    def _local(self, positions: Sequence[Index4]) -> list[ShardHandle] | None:
        """The open shards at positions; None if one is no local file, or cannot be opened."""
        # All stay open during the call, and the process has a limited number of descriptors.
        if len(positions) > _shards_at_hand():
            return None
        try:
            handles = [self._shard(position) for position in positions]
        except VoxarrayError:  # the read without loops raises that of the first chunk
            return None
        return handles if all(isinstance(shard.blob, FileBlob) for shard in handles) else None

    def _scan_all(self, chunks: Chunks, receive: Receive) -> None:
        for (n, z, y, x), chunk in chunks:
            size = math.prod(p.out.stop - p.out.start for p in (n, z, y, x))
            if chunk is None:
                receive(None, size)
            else:
                receive(chunk[n.inside, z.inside, y.inside, x.inside], size)

    def _read_all(self, chunks: Chunks, out: NDArray) -> None:
        for (n, z, y, x), chunk in chunks:
            target = out[n.out, z.out, y.out, x.out]
            if chunk is None:
                target[...] = 0
            else:
                copy_rows(target, chunk[n.inside, z.inside, y.inside, x.inside])

    def _chunks(self, jobs: Iterable[Job]) -> Chunks:
        """Each job with its chunk, valid until the next is asked for; None for background."""
        # Runs once per chunk, hundreds of thousands of times a minute: attributes are looked up
        # once, and a patch seldom leaves the few shards that are open already.
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        flat = decoded.reshape(-1).view(np.uint8)
        is_raw, decode = not self.codec.cname, self.codec.decode
        has_blocks = self._has_blocks
        shards: dict[Index4, ShardHandle] = {}
        unseen = set[Index4]()  # raw shards of which this call has read no chunk yet
        for job in jobs:
            n, z, y, x = job
            position = (n.shard, z.shard, y.shard, x.shard)
            handle = shards.get(position)
            if handle is None:
                if shards and len(shards) >= _shards_at_hand():
                    shards.clear()
                handle = shards[position] = self._shard(position)
                if is_raw:
                    unseen.add(position)
            slot = n.slot + z.slot + y.slot + x.slot
            offset = handle.index.offsets[slot]
            if offset < 0:
                yield job, None
                continue
            length, crcs = handle.index.lengths[slot], handle.index.crcs
            crc = None if crcs is None else crcs[slot]
            try:
                begin, end = needed(job, self.dtype)
                shard = handle.mapped() if is_raw else None
                if shard is not None:
                    if position in unseen:  # notice once in each read if it was written in place
                        unseen.discard(position)
                        shard.look(self.store.file_of(f"{self.key}/{chunk_key(position)}"))
                    page_cache.touch(end - begin + page_cache.FOLIO)
                    chunk = self._in_place(shard, offset, length, crc)
                elif has_blocks and crc is not None and is_small(begin, end, flat.size):
                    name, place = (handle.number, slot), (handle.blob, offset, length)
                    decode_small(name, self.codec, place, crc, flat, (begin, end))
                    chunk = decoded
                else:
                    decode(encoded_chunk((handle.blob, offset, length)), flat, begin, end, crc)
                    chunk = decoded
            except (VoxarrayError, RuntimeError, ValueError) as error:
                index = (n.chunk, z.chunk, y.chunk, x.chunk)
                raise self._named(error, index, position) from error
            yield job, chunk

    def check_shard(self, position: Index4) -> None:
        """Raise unless the shard at a position is there and has the tail that was written."""
        key = f"{self.key}/{chunk_key(position)}"
        slots = math.prod(self.layout.chunks_per_shard)
        handle_cache.check_shard(self.store, self.opened, key, slots)

    def _shard(self, position: Index4) -> ShardHandle:
        key = f"{self.key}/{chunk_key(position)}"
        slots = math.prod(self.layout.chunks_per_shard)
        return handle_cache.shard(self.store, self.opened, key, slots)

    def _at_hand(self, position: Index4) -> ShardHandle | None:
        return handle_cache.at_hand(self.opened, f"{self.key}/{chunk_key(position)}")

    def _in_place(self, shard: MappedShard, offset: int, length: int, crc: int | None) -> NDArray:
        """A chunk without compression, as a view of the mapped file."""
        size = chunk_bytes(self.layout, self.dtype)
        # Checked once, until `mapped_shard.forget` drops the pages: they are then read again.
        checked = shard.checked
        if offset not in checked:
            codecs.check(shard.bytes[offset : offset + length], crc)
            codecs.require_size(length - codecs.CRC_BYTES, size)
            shard.note(checked, offset, length)
        voxels = shard.bytes[offset : offset + size].view(self.dtype)
        return voxels.reshape(self.layout.chunk)

    def _named(self, error: Exception, chunk: Index4, shard: Index4) -> VoxarrayError:
        """The error with the position of the chunk; or that the archive was replaced meanwhile."""
        try:
            handle_cache.require_current(self.store, self.opened, self.key)
        except SourceChangedError as changed:
            return changed
        kind = type(error) if isinstance(error, VoxarrayError) else FormatError
        code = error.code if isinstance(error, VoxarrayError) else "BAD_CHUNK"
        return kind(
            f"chunk {chunk} in {self.key}/{chunk_key(shard)} of {self.store.path}: "
            f"{getattr(error, 'message', error)}",
            code=code,
            path=self.store.path,
        )

    def _refuse_bomb(self) -> None:
        # The layout comes from a file: a few forged bytes may ask for chunks of terabytes.
        size, limit = chunk_bytes(self.layout, self.dtype), settings.get_bytes("chunk-limit")
        if size > limit:
            raise FormatError(
                f"one chunk of {self.key} would decode to {size} bytes, but the setting "
                f"voxarray.chunk-limit allows {limit}: raise the setting if you trust the archive",
                code="BOMB",
                path=self.store.path,
            )


def _are_chunks_kept() -> bool:
    """Whether chunks of remote archives may be in the cache on this machine."""
    from voxarray.storage.chunk_cache import is_enabled  # of no use to local archives

    return is_enabled()


def _shards_at_hand() -> int:
    return min(_SHARDS_AT_HAND, max(1, descriptors.allowance() // settings.threads()))
