"""One large archive written by several processes: each some planes, then one the rest.

A part consists of complete shards of the finest level, as they will be in the archive, and of the
voxels that they contribute to the next level, as plain chunks. The process that has all parts links
the shards into place and makes the coarser levels. The bytes are the same as those that
`voxarray.archive.convert.convert` writes alone. Nothing is visible until that process publishes the
archive; if it dies before, another attempt finds the parts unchanged.

The parts lie in a hidden folder with a shared lock. The process that planned the parts holds the
lock, and so does each process while it writes a part, or reads them all. The folder is abandoned
when the last of them has ended. So any process may die: if it is the planner, the writers still
finish their parts; if it is a writer, the planner and the other writers still hold the lock.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.blocks import first_signal, planes_between
from voxarray.archive.chunk_statistics import Ends, Extremes, WeightTally
from voxarray.archive.codecs import Codec
from voxarray.archive.level_writer import Encoded, LevelWriter
from voxarray.archive.manifest import FileEntry
from voxarray.archive.projection import is_by_shard
from voxarray.archive.pyramid import Box, PyramidWriter
from voxarray.archive.shard import tail_size
from voxarray.archive.staging import Staging
from voxarray.archive.write_plan import WritePlan
from voxarray.core import memory, portable
from voxarray.core.errors import ArchiveError
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.folder_lock import FolderLock, random_identity
from voxarray.storage.raw_voxels import as_bytes, read_exactly

_NEXT = "next-level.raw"


@dataclass(frozen=True, slots=True)
class PartialWrite:
    """A part of an image that was written.

    Attributes:
        folder: Where its files are.
        planes: Of the finest level.
        files: Entries of its shards.
        next_level: crc32c of each chunk of the next level.
        codec: The one that the trial chose, in all parts the same.
        ends: Smallest and largest voxel, as stored.
        weights: Sums of its chunks, if the voxels can be weights.
        digest: sha256 of the source's file, in the first part only; None in the others.
    """

    folder: str
    planes: range
    files: Mapping[str, FileEntry]
    next_level: dict[Index4, int]
    codec: Codec
    ends: Ends | None
    weights: WeightTally | None
    digest: str | None


def divided(plan: WritePlan, most: int) -> list[range]:
    """Planes of the finest level in parts that share no shard, and no chunk of the next level.

    Args:
        plan: Of the archive.
        most: Largest number of parts.

    Returns:
        The parts; none if the image has too few planes, is a series, or is not stored plane by
        plane.
    """
    finest = plan.layouts[0]
    if (
        finest.shape[0] != 1
        or is_by_shard(plan.storage.source, finest)
        or plan.metadata.kind == "label"
    ):
        return []
    # Parts must begin at borders of shards, and at borders of chunks of the next level: else two
    # processes would write the same file, or half a chunk each.
    step = finest.shard[1]
    if len(plan.layouts) > 1:
        step = math.lcm(step, plan.metadata.factors[0][0] * plan.layouts[1].chunk[1])
    depth = finest.shape[1]
    steps = -(-depth // step)
    size = step * -(-steps // max(1, most))
    parts = [range(z, min(z + size, depth)) for z in range(0, depth, size)]
    return parts if len(parts) > 1 else []


def write_part(plan: WritePlan, planes: range, folder: str) -> PartialWrite:
    """Write the shards of some planes.

    Args:
        plan: Of the archive.
        planes: As `divided` gives them.
        folder: A new folder is made in it for each attempt, so that an attempt does not find files
            of an earlier one.

    Raises:
        ArchiveError: If the folder is gone (``STAGING_LOST``).
        VoxarrayError: What the source or the disk finds wrong.
        OSError: What the disk refuses.
    """
    memory.require(
        plan.projected_peak,
        lambda: f"converting a part of {plan.source.path or 'the image'}",
        lambda: f"{memory.raised_to(lambda: plan.projected_peak)} (--memory)",
    )
    with _joined(folder):
        return _written(plan, planes, os.path.join(folder, f"{planes.start}-{random_identity()}"))


def _joined(folder: str) -> FolderLock:
    try:
        return FolderLock.join(folder)
    except FileNotFoundError as error:
        raise ArchiveError(
            f"the temporary folder {folder} is gone, because the process that made it ended: "
            "convert the image again",
            code="STAGING_LOST",
            path=folder,
        ) from error


def _written(plan: WritePlan, planes: range, root: str) -> PartialWrite:
    os.mkdir(root)
    source, layouts = plan.storage.source, plan.layouts[:2]
    codec = first_signal(source, layouts[0], plan.trial) or plan.usual_codec
    found, files = Extremes(), dict[str, FileEntry]()
    with (
        source.stream() as whole,
        plan.encoders() as cpu,
        ThreadPoolExecutor(1, "voxarray-sync") as disk,
    ):
        # Only in the first part: reading the whole file for its sha256 costs as much as a part.
        if planes.start == 0:
            whole.start_digest()
        levels: list[LevelWriter | ChunkFile] = [
            plan.writer(0, root, "", codec, disk, files.__setitem__)
        ]
        crcs: dict[Index4, int] = {}
        if len(layouts) > 1:
            levels.append(ChunkFile.of(plan, planes, root, crcs))
        convert = found.watching(plan.storage.convert)
        weights = _weights_of(plan)
        observe = None if weights is None else weights.add
        pyramid = PyramidWriter(
            levels, plan.metadata.factors[:1], plan.reduction, convert, cpu, observe
        )
        try:
            for box, block in planes_between(source, layouts[0], planes):
                pyramid.put(box, block)
            pyramid.close()
        except BaseException:
            pyramid.abandon()
            raise
        if planes.start == 0:
            whole.finish()
        return PartialWrite(
            root, planes, files, crcs, codec, found.ends, weights, whole.source_digest()
        )


def complete(
    plan: WritePlan, area: Staging, parts: Sequence[PartialWrite], found: Extremes | None
) -> str | None:
    """Assemble an image from its parts.

    Returns:
        The sha256 of the source's file.

    Raises:
        ArchiveError: If the parts do not hold every plane exactly once (``MISSING_PART``): a
            missing plane would read as background.
    """
    ordered = sorted(parts, key=lambda part: part.planes.start)
    depth, ends = plan.layouts[0].shape[1], [0, *(part.planes.stop for part in ordered)]
    if [*(part.planes.start for part in ordered), depth] != ends:
        raise ArchiveError(
            f"some planes of {plan.source.path or 'the image'} are missing or written twice: it "
            f"has {depth} planes, and its parts hold the planes "
            f"{', '.join(f'{p.planes.start} to {p.planes.stop - 1}' for p in ordered)}; "
            "convert the image again",
            code="MISSING_PART",
        )
    with ExitStack() as shares:
        for folder in {os.path.dirname(part.folder) for part in ordered}:
            shares.enter_context(_joined(folder))
        _assemble(plan, area, ordered, found)
    plan.write_documents(area, "", ordered[0].codec)
    weights = _weights_of(plan)
    if weights is not None:
        for part in ordered:
            if part.weights is not None:
                weights.include(part.weights)
        weights.write(area, "")
    return ordered[0].digest


def _assemble(
    plan: WritePlan, area: Staging, ordered: Sequence[PartialWrite], found: Extremes | None
) -> None:
    for part in ordered:
        for key, entry in part.files.items():
            os.makedirs(os.path.dirname(f"{area.root}/{key}"), exist_ok=True)
            _require(plan, f"{part.folder}/{key}", entry)
            _put(f"{part.folder}/{key}", f"{area.root}/{key}")
            area.record(key, entry)
        if found is not None and part.ends is not None:
            found.include(part.ends)
    if len(plan.layouts) > 1:
        _write_coarser(plan, area, ordered)


def _require(plan: WritePlan, file: str, entry: FileEntry) -> None:
    """Raise `ArchiveError` unless a shard has the tail that was written (``VERIFY_FAILED``)."""
    tail = tail_size(math.prod(plan.layouts[0].chunks_per_shard))
    with open(file, "rb") as data:
        size = os.fstat(data.fileno()).st_size
        data.seek(max(0, size - tail))
        seen = FileEntry.of(data.read(), tail)
    if (size, seen.tail) != (entry.size, entry.tail):
        raise ArchiveError(
            f"{file} has changed since it was written (it had {entry.size} bytes, now {size}): "
            "convert the source again",
            code="VERIFY_FAILED",
            path=file,
        )


def _put(file: str, place: str) -> None:
    """Hard-link a file; on file systems without links it is moved."""
    try:
        os.link(file, place)
    except FileNotFoundError:
        raise
    except OSError:
        os.rename(file, place)


def _weights_of(plan: WritePlan) -> WeightTally | None:
    tally = plan.tally()
    return tally if isinstance(tally, WeightTally) else None


def _write_coarser(plan: WritePlan, area: Staging, parts: Sequence[PartialWrite]) -> None:
    codec = parts[0].codec
    with (
        plan.encoders() as cpu,
        ThreadPoolExecutor(1, "voxarray-sync") as disk,
    ):
        levels = [
            plan.writer(number, area.root, "", codec, disk, area.record)
            for number in range(1, len(plan.layouts))
        ]
        pyramid = PyramidWriter(levels, plan.metadata.factors[1:], plan.reduction, _same, cpu)
        try:
            for part in parts:
                with ChunkFile.of(plan, part.planes, part.folder, part.next_level) as chunks:
                    for box, block in chunks.rows():
                        pyramid.put(box, block)
            pyramid.close()
        except BaseException:
            pyramid.abandon()
            raise


@dataclass(slots=True)
class ChunkFile:
    """The chunks that a part contributes to the next level: one file, not compressed.

    Takes the place of a `LevelWriter` in a `PyramidWriter`.

    Attributes:
        path: The file.
        layout: Of the whole level.
        dtype: Stored type.
        first: First row of chunks along z.
        last: The one after the last row.
        crcs: crc32c of the chunks.
    """

    path: str
    layout: Layout
    dtype: np.dtype
    first: int
    last: int
    crcs: dict[Index4, int]
    _fd: int = field(default=-1, init=False)

    @classmethod
    def of(cls, plan: WritePlan, planes: range, folder: str, crcs: dict[Index4, int]) -> ChunkFile:
        """The file for some planes of the finest level."""
        layout, factor = plan.layouts[1], plan.metadata.factors[0][0]
        depth = layout.chunk[1]
        stop = min(planes.stop // factor, layout.shape[1])
        first = planes.start // factor // depth
        last = max(first, -(-stop // depth))
        path = os.path.join(folder, _NEXT)
        return cls(path, layout, plan.storage.dtype, first, last, crcs)

    def encode(self, index: Index4, block: NDArray) -> Encoded:
        """The bytes of a chunk."""
        return Encoded(index, (np.ascontiguousarray(block).tobytes(),))

    def append(self, encoded: Encoded) -> None:
        """Write a chunk at its position in the file."""
        if self._fd < 0:
            self._fd = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | portable.BINARY, 0o666
            )
        place, view = self._place(encoded.index), memoryview(encoded.parts[0])
        self.crcs[encoded.index] = google_crc32c.value(encoded.parts[0])
        while view:
            count = portable.pwrite(self._fd, view, place)
            place, view = place + count, view[count:]

    def rows(self) -> Iterator[tuple[Box, NDArray]]:
        """The voxels in rows of chunks, as blocks (1, z, y, x); each is valid until the next.

        Raises:
            ArchiveError: If a chunk reads back with other bytes (``VERIFY_FAILED``).
        """
        height, width = self.layout.shape[2:]
        rows, columns = self.layout.chunk_counts[2:]
        for z in range(self.first, self.last):
            planes = self.layout.region((0, z, 0, 0))[1]
            block = np.empty((1, len(planes), height, width), self.dtype)
            for index in itertools.product((0,), (z,), range(rows), range(columns)):
                region = self.layout.region(index)
                place = tuple(slice(r.start, r.stop) for r in region[2:])
                block[:, :, *place] = self._read(index).reshape([len(r) for r in region])
            yield (range(1), planes, range(height), range(width)), block

    def _read(self, index: Index4) -> NDArray:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | portable.BINARY)
        chunk = np.empty(math.prod(map(len, self.layout.region(index))), self.dtype)
        read_exactly(self._fd, as_bytes(chunk), self._place(index))
        if google_crc32c.value(chunk.view(np.uint8)) != self.crcs.get(index):
            raise ArchiveError(
                f"chunk {index} of {self.path} reads back with other bytes than were written: the "
                "disk or the memory of this machine may be faulty; check them, and convert again",
                code="VERIFY_FAILED",
                path=self.path,
            )
        return chunk

    def close(self) -> None:
        """Close the file; it need not survive a power loss: the part is then written again."""
        self.abandon()

    def abandon(self) -> None:
        """Close the file after a failure."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> ChunkFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _place(self, index: Index4) -> int:
        _, z, y, x = index
        _, _, ys, xs = self.layout.chunk_counts
        size = math.prod(self.layout.chunk) * self.dtype.itemsize
        return ((z - self.first) * ys * xs + y * xs + x) * size


def _same(block: NDArray) -> NDArray:
    return block
