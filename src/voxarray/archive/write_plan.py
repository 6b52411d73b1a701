"""Everything about the archive of one image that is decided before its voxels are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.blocks import blocks
from voxarray.archive.chunk_statistics import Extremes, LabelTally, WeightTally
from voxarray.archive.codecs import Codec
from voxarray.archive.downsample import Reduction, mean, mode
from voxarray.archive.encoding import VoxelEncoding, encoding_of
from voxarray.archive.level_writer import LevelWriter
from voxarray.archive.manifest import FileEntry
from voxarray.archive.metadata import IMAGE, ImageMetadata, Kind, Label, level_name
from voxarray.archive.options import Options
from voxarray.archive.profiles import Profile, Trial, profile
from voxarray.archive.projection import layouts_of, peak_of
from voxarray.archive.pyramid import Box, PyramidWriter
from voxarray.archive.spatial_metadata import write_level_frame, write_nifti_header
from voxarray.archive.staging import Staging
from voxarray.archive.whole_values import requiring_whole
from voxarray.core import settings, thread_pools
from voxarray.core.dtype_names import dtype_name
from voxarray.core.errors import FormatError
from voxarray.core.history import entry
from voxarray.core.scaling import Scaling
from voxarray.geometry.layout import Factors, Layout, chunk_bytes
from voxarray.source.base import Source
from voxarray.source.storable import refuse_beyond_disks

_ALONE_BYTES = 1 << 20
"""Of voxels that one thread encodes as fast as several, for handing them over takes as long."""

_KEPT_CHUNK = 2 << 20


@dataclass(frozen=True, slots=True)
class WritePlan:
    """How one image is archived.

    Attributes:
        source: The image as it was given.
        storage: What is read of it and how it is stored.
        metadata: What the archive will say about it.
        layouts: Of every level, finest first.
        profile: Codecs to choose from.
    """

    source: Source
    storage: VoxelEncoding
    metadata: ImageMetadata
    layouts: list[Layout]
    profile: Profile

    @classmethod
    def of(
        cls,
        source: Source,
        kind: Kind,
        table: Sequence[Label],
        options: Options,
        factors: Sequence[Factors] | None = None,
    ) -> WritePlan:
        """Plan the archive of a source; reads no voxels.

        Args:
            source: The image.
            kind: What its voxels are.
            table: Names and colours of labels.
            options: How it is archived.
            factors: Of the pyramid of the image that it belongs to.

        Raises:
            UnsupportedError: No disk could hold the image (``TOO_LARGE``).
        """
        refuse_beyond_disks(source)
        storage = encoding_of(source)
        layouts, factors = layouts_of(storage, options, factors)
        _refuse_unreadable(layouts[0], storage.dtype)
        metadata = ImageMetadata(
            kind=kind,
            affine=tuple(tuple(row) for row in source.affine.tolist()),
            dtype=dtype_name(source.dtype),
            channels=source.channels,
            scaling=storage.kept,
            factors=factors,
            labels=tuple(table),
            history=(*source.history, entry("convert", {"kind": kind})),
        )
        offered = profile(options.codec or ("labels" if kind == "label" else "default"))
        return cls(source, storage, metadata, layouts, offered)

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the voxels as they are read."""
        return math.prod(self.source.shape) * self.storage.source.dtype.itemsize

    @property
    def projected_peak(self) -> int:
        """Bytes at the peak of `write`."""
        return peak_of(self.storage, self.layouts)

    def write(
        self,
        area: Staging,
        prefix: str,
        report: Callable[[int], None],
        extremes: Extremes | None = None,
    ) -> str | None:
        """Write the group at ``prefix`` with all levels.

        Args:
            area: Where the archive is built.
            prefix: Folder in it, empty or with a final slash.
            report: Called with the bytes of every block that is written.
            extremes: Given all voxels as they are stored.

        Returns:
            The sha256 of the source's file, None if there is no file.

        Raises:
            FormatError: For a label map below a prefix that holds other than whole numbers
                (``FRACTIONAL_LABELS``).
        """
        digests: list[str | None] = []
        tally = self.tally()
        with (
            # Closed here and now after a failure, with its file and its thread.
            closing(blocks(self.storage.source, self.layouts[0], digests.append)) as stream,
            self.encoders() as cpu,
            # What is held in memory goes to disk when it is sealed.
            thread_pools.CallingThread()
            if area.holds
            else ThreadPoolExecutor(1, "voxarray-sync") as disk,
        ):
            codec: Codec | None = None
            writers = [
                self.writer(number, area.root, prefix, self.usual_codec, disk, area.record)
                for number in range(len(self.layouts))
            ]
            if area.holds:
                for writer in writers:
                    writer.hold = area.hold
            cascade = self._cascade(writers, cpu, extremes, tally, prefix)
            try:
                for box, block in stream:
                    if codec is None:  # so far all was background, of which nothing is stored
                        codec = self.trial.choose(box, _reader_of(box, block))
                        for writer in writers:
                            writer.codec = codec or writer.codec
                    cascade.put(box, block)
                    report(block.nbytes)
                cascade.close()
            except BaseException:
                cascade.abandon()
                raise
        self.write_documents(area, prefix, codec or self.usual_codec)
        if tally is not None:
            tally.write(area, prefix)
        return digests[0]

    @contextmanager
    def encoders(self) -> Iterator[Executor]:
        """Threads that encode its chunks: the process's, unless chunks are large.

        Each thread keeps memory for a chunk; that of large ones goes with the threads.
        """
        if self.voxel_bytes <= _ALONE_BYTES:
            yield thread_pools.CallingThread()
        elif chunk_bytes(self.layouts[0], self.storage.dtype) <= _KEPT_CHUNK:
            yield thread_pools.pool()
        else:
            with ThreadPoolExecutor(settings.threads(), "voxarray-encode") as threads:
                yield threads

    def writer(
        self,
        number: int,
        root: str,
        prefix: str,
        codec: Codec,
        disk: Executor,
        record: Callable[[str, FileEntry], None],
    ) -> LevelWriter:
        """What writes a level below a folder."""
        key = f"{prefix}{level_name(number)}/{IMAGE}"
        layout, dtype = self.layouts[number], self.storage.dtype
        return LevelWriter(root, key, layout, dtype, codec, disk, record)

    @property
    def reduction(self) -> Reduction:
        """How voxels of a level become one of the next."""
        return mode if self.metadata.kind == "label" else mean

    @property
    def trial(self) -> Trial:
        """What chooses the codec by the first voxels that are not background."""
        dtype = self.storage.dtype
        offered = self.profile.candidates(dtype)
        return Trial(offered, self.layouts[0], dtype, self.storage.convert)

    @property
    def usual_codec(self) -> Codec:
        """The codec of an image that is all background."""
        return self.profile.candidates(self.storage.dtype)[0]

    def tally(self) -> LabelTally | WeightTally | None:
        """What counts labels, or sums weights, on the way; None for numbers that are scaled."""
        storage, layout = self.storage, self.layouts[0]
        if storage.kept:
            return None
        if self.metadata.kind == "label":
            return LabelTally(layout) if storage.dtype.kind in "iuf" else None
        return WeightTally(layout) if storage.dtype.kind == "f" else None

    def _cascade(
        self,
        writers: Sequence[LevelWriter],
        cpu: Executor,
        extremes: Extremes | None,
        tally: LabelTally | WeightTally | None,
        prefix: str,
    ) -> PyramidWriter:
        convert = self.storage.convert
        if prefix:
            name = prefix.split("/")[-2]
            convert = requiring_whole(convert, self.metadata.scaling, name)
        if extremes is not None:
            convert = extremes.watching(convert)
        observe = None if tally is None else tally.add
        return PyramidWriter(writers, self.metadata.factors, self.reduction, convert, cpu, observe)

    def write_documents(self, area: Staging, prefix: str, codec: Codec) -> None:
        """Write what is no voxel: metadata of all levels, coordinates, the NIfTI header."""
        shape = self.source.grid.shape
        attributes = self.metadata.attributes(shape, of_image=bool(prefix))
        area.write(f"{prefix}zarr.json", documents.dump(documents.group(attributes)))
        axis = self.metadata.axis
        for number, (layout, grid) in enumerate(
            zip(self.layouts, self.metadata.grids(shape), strict=True)
        ):
            folder = f"{prefix}{level_name(number)}"
            # Scaled images are rare, and numbers that are equal may be written otherwise (-0.0).
            made = _array_document if self.storage.kept else _usual_array_document
            array = made(layout, self.storage.dtype, codec, axis, self.storage.kept)
            area.write(f"{folder}/{IMAGE}/zarr.json", array)
            write_level_frame(area, folder, grid)
        write_nifti_header(area, prefix, self.source, self.storage)


def _refuse_unreadable(layout: Layout, dtype: np.dtype) -> None:
    """Refuse chunks that the reader would refuse as bombs."""
    size, limit = chunk_bytes(layout, dtype), settings.get_bytes("chunk-limit")
    if size > limit:
        raise FormatError(
            f"chunks of {layout.chunk} {dtype} voxels have {size} bytes, and readers take no more "
            f"than {limit} (setting voxarray.chunk-limit): use smaller chunks (--chunk)",
            code="BAD_CHUNK",
        )


def _reader_of(box: Box, block: NDArray) -> Callable[[Box], NDArray]:
    """Gives parts of a block by their place in the image."""
    return lambda region: block[
        tuple(
            slice(r.start - whole.start, r.stop - whole.start)
            for r, whole in zip(region, box, strict=True)
        )
    ]


def _array_document(
    layout: Layout, dtype: np.dtype, codec: Codec, axis: str, kept: Scaling | None
) -> bytes:
    """The ``zarr.json`` of the voxels of a level."""
    attributes: dict[str, Any] = {"coordinates": "spatial_ref"}
    if kept is not None:  # CF conventions, section 8.1 "Packed data"
        attributes["scale_factor"] = kept.slope
        attributes["add_offset"] = kept.intercept
    array = documents.sharded_array(layout, dtype, codec, (axis, "z", "y", "x"), attributes)
    return documents.dump(array)


_usual_array_document = lru_cache(maxsize=64)(_array_document)
"""Images of a cohort are mostly alike in this."""
