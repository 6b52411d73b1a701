"""The plan of an archive: all that is decided before the voxels of the image are read."""

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
from voxarray.archive.blocks import blocks, first_signal, is_in_parts
from voxarray.archive.chunk_statistics import Extremes, LabelTally, WeightTally
from voxarray.archive.codecs import Codec
from voxarray.archive.downsample import Downsampling, majority, mean
from voxarray.archive.level_writer import LevelWriter
from voxarray.archive.manifest import FileEntry
from voxarray.archive.metadata import IMAGE, ImageMetadata, Kind, Label, level_name
from voxarray.archive.options import Options
from voxarray.archive.outline import Outline
from voxarray.archive.profiles import Profile, Trial, profile
from voxarray.archive.projection import block_and_peak, peak_of
from voxarray.archive.pyramid import Box, PyramidWriter
from voxarray.archive.spatial_metadata import (
    write_coordinates,
    write_level_group,
    write_nifti_header,
)
from voxarray.archive.staging import Staging
from voxarray.archive.voxel_encoding import VoxelEncoding
from voxarray.archive.whole_values import requiring_whole, warn_of_floats
from voxarray.core import settings, thread_pools
from voxarray.core.dtype_names import dtype_name
from voxarray.core.history import entry
from voxarray.core.scaling import Scaling
from voxarray.geometry.coordinates import PLACED_BY_ROOT, WORLD_NAME
from voxarray.geometry.layout import Factors, Layout, chunk_bytes
from voxarray.geometry.selection import Shape4
from voxarray.source.base import Source

_ALONE_BYTES = 1 << 20
"""Bytes of voxels up to which one thread is as fast as several: handing over takes as long."""

_POOL_CHUNK = 2 << 20
"""Bytes of a chunk up to which the threads of the process encode it."""


@dataclass(frozen=True, slots=True)
class WritePlan:
    """How one image is archived.

    Attributes:
        source: The image as it was given.
        outline: How its voxels are stored.
        metadata: The metadata of the image in the archive.
        profile: Codecs to choose from.
        block: Voxels (n, z, y, x) that are read at once; of computed voxels, as many as the budget
            had room for when it was planned.
        planned_peak: Bytes at the peak of `write`, as projected when it was planned.
    """

    source: Source
    outline: Outline
    metadata: ImageMetadata
    profile: Profile
    block: Shape4
    planned_peak: int

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
            factors: For a label map, the factors of the image that it belongs to.

        Raises:
            UnsupportedError: No disk could hold the image (``TOO_LARGE``).
        """
        outline = Outline.of(source, kind, options, factors)
        storage = outline.storage
        metadata = ImageMetadata(
            kind=kind,
            affine=tuple(tuple(row) for row in source.affine.tolist()),
            dtype=dtype_name(source.dtype),
            channels=source.channels,
            scaling=storage.kept,
            factors=outline.factors,
            labels=tuple(table),
            history=(*source.history, entry("convert", {"kind": kind})),
        )
        codec_profile = profile(options.codec or ("labels" if kind == "label" else "default"))
        block, peak = block_and_peak(storage, outline.layouts)
        return cls(source, outline, metadata, codec_profile, block, peak)

    @property
    def storage(self) -> VoxelEncoding:
        """Which voxels are read, and how they are stored."""
        return self.outline.storage

    @property
    def layouts(self) -> list[Layout]:
        """Of every level, finest first."""
        return self.outline.layouts

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the voxels as they are read."""
        return math.prod(self.source.shape) * self.storage.source.dtype.itemsize

    @property
    def projected_peak(self) -> int:
        """Bytes at the peak of `write`, by the budget of the moment."""
        return peak_of(self.storage, self.layouts, self.block)

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

        Warns:
            VoxarrayWarning: For a label map below a prefix whose voxels are floats
                (``FLOAT_LABELS``).
        """
        digests: list[str | None] = []
        tally = self.tally()
        with (
            # After a failure, closes its file and its thread at once, not when it is collected.
            closing(
                blocks(self.storage.source, self.layouts[0], self.block, digests.append)
            ) as stream,
            self.encoders() as cpu,
            # With `holds`, nothing is synced before the archive is sealed.
            thread_pools.CallingThread()
            if area.holds
            else ThreadPoolExecutor(1, "voxarray-sync") as disk,
        ):
            codec = self._foreseen_codec()
            writers = [
                self.writer(number, area.root, prefix, codec or self.usual_codec, disk, area.record)
                for number in range(len(self.layouts))
            ]
            if area.holds:
                for writer in writers:
                    writer.hold = area.hold
            pyramid = self._cascade(writers, cpu, extremes, tally, prefix)
            try:
                for box, block in stream:
                    # Until a block has signal, nothing is stored, so the codec can still change.
                    if codec is None:
                        codec = self.trial.choose(box, _reader_of(box, block))
                        for writer in writers:
                            writer.codec = codec or writer.codec
                    pyramid.put(box, block)
                    report(block.nbytes)
                pyramid.close()
            except BaseException:
                pyramid.abandon()
                raise
        self.write_documents(area, prefix, codec or self.usual_codec)
        if tally is not None:
            tally.write(area, prefix)
        if prefix:  # at the end, since a map of fractions is an error
            warn_of_floats(self.storage.dtype, prefix.split("/")[-2], self.source.path)
        return digests[0]

    @contextmanager
    def encoders(self) -> Iterator[Executor]:
        """Threads that encode its chunks: those of the process, unless chunks are large.

        Each thread keeps memory for a chunk. For large chunks, threads of its own are used, whose
        memory is freed when they end.
        """
        if self.voxel_bytes <= _ALONE_BYTES:
            yield thread_pools.CallingThread()
        elif chunk_bytes(self.layouts[0], self.storage.dtype) <= _POOL_CHUNK:
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
        """The writer of a level below a folder."""
        key = f"{prefix}{level_name(number)}/{IMAGE}"
        layout, dtype = self.layouts[number], self.storage.dtype
        return LevelWriter(root, key, layout, dtype, codec, disk, record)

    def _foreseen_codec(self) -> Codec | None:
        """The codec, if blocks are parts of what it is to be chosen by; else None."""
        source, finest = self.storage.source, self.layouts[0]
        if not is_in_parts(source, finest, self.block):
            return None
        return first_signal(source, finest, self.trial) or self.usual_codec

    @property
    def reduction(self) -> Downsampling:
        """The function that downsamples a level to the next: majority for labels, else mean."""
        return majority if self.metadata.kind == "label" else mean

    @property
    def trial(self) -> Trial:
        """The trial that chooses the codec by the first voxels that are not background."""
        dtype = self.storage.dtype
        candidates = self.profile.candidates(dtype)
        return Trial(candidates, self.layouts[0], dtype, self.storage.convert)

    @property
    def usual_codec(self) -> Codec:
        """The codec of an image that is all background."""
        return self.profile.candidates(self.storage.dtype)[0]

    def tally(self) -> LabelTally | WeightTally | None:
        """Counter of labels or weights while writing; None for stored numbers with a scaling."""
        return self.outline.tally()

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
            convert = requiring_whole(convert, self.metadata.scaling, name, self.source.path)
        if extremes is not None:
            convert = extremes.watching(convert)
        observe = None if tally is None else tally.add
        return PyramidWriter(writers, self.metadata.factors, self.reduction, convert, cpu, observe)

    def write_documents(self, area: Staging, prefix: str, codec: Codec) -> None:
        """Write all but the voxels: metadata of all levels, coordinates, the NIfTI header."""
        grid = self.source.grid
        attributes = self.metadata.attributes(grid.shape, of_image=bool(prefix))
        area.write(f"{prefix}zarr.json", documents.dump(documents.group(attributes)))
        axis = self.metadata.axis
        for number, layout in enumerate(self.layouts):
            folder = f"{prefix}{level_name(number)}"
            # Scaled images are not cached: 0.0 and -0.0 are equal as keys, but differ in JSON.
            document_of = _array_document if self.storage.kept else _usual_array_document
            array = document_of(
                layout, self.storage.dtype, codec, axis, self.storage.kept, is_base=number == 0
            )
            area.write(f"{folder}/{IMAGE}/zarr.json", array)
            write_level_group(area, folder)
        write_coordinates(area, f"{prefix}{level_name(0)}", grid)
        write_nifti_header(area, prefix, self.source, self.storage)


def _reader_of(box: Box, block: NDArray) -> Callable[[Box], NDArray]:
    """A function that returns parts of a block, given by their ranges in the image."""
    return lambda region: block[
        tuple(
            slice(r.start - whole.start, r.stop - whole.start)
            for r, whole in zip(region, box, strict=True)
        )
    ]


def _array_document(
    layout: Layout,
    dtype: np.dtype,
    codec: Codec,
    axis: str,
    kept: Scaling | None,
    *,
    is_base: bool,
) -> bytes:
    """The ``zarr.json`` of the voxels of a level."""
    attributes: dict[str, Any] = {"coordinates": WORLD_NAME} if is_base else dict(PLACED_BY_ROOT)
    if kept is not None:  # CF conventions, section 8.1 "Packed data"
        attributes["scale_factor"] = kept.slope
        attributes["add_offset"] = kept.intercept
    array = documents.sharded_array(layout, dtype, codec, (axis, "z", "y", "x"), attributes)
    return documents.dump(array)


_usual_array_document = lru_cache(maxsize=64)(_array_document)
"""Cached, since the images of a cohort mostly share these documents."""
