"""One large archive written by several processes: each some planes, then one the rest.

A part is a run of whole shards of the finest level, and what it comes to in the next level: shards
as they will stand in the archive, and voxels of the next level as plain chunks. Whoever has all
parts links the shards into place and makes the coarser levels, so that every byte is the one that
`voxarray.archive.convert.convert` alone writes. Until it publishes, nothing of this can be seen;
should it die before, whoever tries again has the parts as they were.

The folder of the parts is hidden as that of a growing archive is, but its lock is shared: whoever
planned the parts holds a share of it, and so does each process while it writes a part or reads all.
The folder is abandoned when the last of them has ended. It does not matter who dies: without the
one that planned them, those that write go on to the end of their part, and the folder stays until
then; without one that writes, the others and the one that planned them still hold their shares.
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
    """Some planes of an image, written.

    Attributes:
        folder: Where its files are.
        planes: Of the finest level.
        files: Entries of its shards.
        next_level: crc32c of each chunk of the next level.
        codec: The one that the trial chose, in all parts the same.
        ends: Smallest and largest voxel, as stored.
        weights: Sums of its chunks, if these can be weights.
        digest: sha256 of the source's file; None but in the part that begins the image.
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
        most: Parts that are of use.

    Returns:
        At most so many parts; none where the image is too flat, is a series, or is not stored
        plane by plane.
    """
    finest = plan.layouts[0]
    if (
        finest.shape[0] != 1
        or is_by_shard(plan.storage.source, finest)
        or plan.metadata.kind == "label"
    ):
        return []
    # A border of parts must be one of shards here, and of chunks in the next level: else two
    # processes would write one file, or each half of a chunk.
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
        folder: In which a new folder is made: whoever tries again does not meet what another left.

    Raises:
        ArchiveError: If the folder is gone (``STAGING_LOST``).
        VoxarrayError: What the source or the disk finds wrong.
        OSError: What the disk refuses.
    """
    memory.require(
        plan.projected_peak,
        lambda: f"converting a part of {plan.source.path or 'the image'}",
        "use smaller chunks (--chunk) or raise the budget (--memory)",
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
        # Once is enough, and reading all of a file for its sha256 costs as much as a part.
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
        cascade = PyramidWriter(
            levels, plan.metadata.factors[:1], plan.reduction, convert, cpu, observe
        )
        try:
            for box, block in planes_between(source, layouts[0], planes):
                cascade.put(box, block)
            cascade.close()
        except BaseException:
            cascade.abandon()
            raise
        if planes.start == 0:
            whole.finish()
        return PartialWrite(
            root, planes, files, crcs, codec, found.ends, weights, whole.source_digest()
        )


def complete(
    plan: WritePlan, area: Staging, parts: Sequence[PartialWrite], found: Extremes | None
) -> str | None:
    """Make an image of its parts; gives the sha256 of the source's file.

    Raises:
        ArchiveError: If they are not all planes once (``MISSING_PART``): what is not written would
            read as background.
    """
    ordered = sorted(parts, key=lambda part: part.planes.start)
    depth, ends = plan.layouts[0].shape[1], [0, *(part.planes.stop for part in ordered)]
    if [*(part.planes.start for part in ordered), depth] != ends:
        raise ArchiveError(
            f"some planes of {plan.source.path or 'the image'} are missing or written twice: its "
            "parts hold the planes "
            f"{', '.join(f'{p.planes.start} to {p.planes.stop}' for p in ordered)} of {depth}; "
            "convert it again",
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
    """A second name for a file; on file systems that have no links, its only one from now on."""
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
        cascade = PyramidWriter(levels, plan.metadata.factors[1:], plan.reduction, _same, cpu)
        try:
            for part in parts:
                with ChunkFile.of(plan, part.planes, part.folder, part.next_level) as chunks:
                    for box, block in chunks.rows():
                        cascade.put(box, block)
            cascade.close()
        except BaseException:
            cascade.abandon()
            raise


@dataclass(slots=True)
class ChunkFile:
    """The chunks of the next level that a part comes to, as they are, one after the other.

    Stands where a `LevelWriter` does in a `PyramidWriter`.

    Attributes:
        path: The file.
        layout: Of the whole level.
        dtype: Stored type.
        first: Of its rows of chunks.
        last: One more than the last of them.
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
        """Put a chunk into its place."""
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
        """The voxels in rows of chunks, as blocks (1, z, y, x); each until the next is taken.

        Raises:
            ArchiveError: If a chunk is not what was put there (``VERIFY_FAILED``).
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
        """Release the file; it need not survive a power loss, for who died begins anew."""
        self.abandon()

    def abandon(self) -> None:
        """Release the file; what it holds is of no use."""
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
