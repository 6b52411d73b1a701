"""From a source to a published archive: one pass, bounded memory, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from voxarray import memory, settings
from voxarray.archive import documents, zip_file
from voxarray.archive.blocks import blocks
from voxarray.archive.cascade import Cascade
from voxarray.archive.codecs import TRAINING_CHUNK, Codec, profile
from voxarray.archive.downsample import mean, mode
from voxarray.archive.geometry import write_level_frame, write_nifti_header
from voxarray.archive.level_writer import LevelWriter
from voxarray.archive.metadata import IMAGE, ImageMetadata, Label, level_name
from voxarray.archive.staging import Staging, publish, staging
from voxarray.archive.storage import Storage, storage_of
from voxarray.errors import FormatError, GridError
from voxarray.layout import (
    DEFAULT_CHUNK,
    Factors,
    Layout,
    choose,
    chunk_bytes,
    coarser,
    pyramid_factors,
)
from voxarray.sources.base import Source
from voxarray.version import __version__

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How an archive is made.

    Attributes:
        levels: Pyramid levels, the base included; None makes as many as help.
        chunk: Edge of a chunk in voxels, even; None takes 64, or 32 for ``training``.
        codec: ``intensity``, ``label``, ``training`` or ``raw``; None decides from the voxels.
        overwrite: Whether an existing archive may be exchanged for this one.
    """

    levels: int | None = None
    chunk: int | None = None
    codec: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.levels is not None and self.levels < 1:
            raise FormatError(f"an archive has at least one level, got {self.levels}")
        if self.codec is not None:
            profile(self.codec)

    @property
    def chunk_edge(self) -> int:
        """Edge of a chunk in voxels."""
        if self.chunk is not None:
            return self.chunk
        return TRAINING_CHUNK if self.codec == "training" else DEFAULT_CHUNK


@dataclass(frozen=True, slots=True)
class LabelLayer:
    """A label map that is archived with the image it belongs to.

    Attributes:
        source: On the same grid as the image.
        table: Names and colours of its values.
    """

    source: Source
    table: Sequence[Label] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did.

    Attributes:
        path: The archive.
        source_bytes: Bytes of the voxels as they were read.
        archive_bytes: Bytes of the archive.
        seconds: Wall time.
        levels: Pyramid levels.
    """

    path: str
    source_bytes: int
    archive_bytes: int
    seconds: float
    levels: int


def convert(
    source: Source,
    destination: str | os.PathLike[str],
    *,
    kind: Literal["intensity", "label"] = "intensity",
    table: Sequence[Label] = (),
    labels: Mapping[str, LabelLayer] | None = None,
    options: Options = Options(),
    progress: Progress | None = None,
) -> Conversion:
    """Archive a source at ``destination``: a directory, or one file if it ends with ``.ozx``.

    The source is read exactly once. Memory is two slabs of one chunk's depth (for lazy sources
    two shards) and what `projected_peak` adds, whatever the size of the volume.

    Args:
        source: The image.
        destination: Where the archive appears when it is whole.
        kind: ``"label"`` makes the pyramid by vote and compresses for labels.
        table: Names and colours of the labels of a label map.
        labels: Label maps of the image, by name.
        options: Levels, chunks, codec, overwriting.
        progress: Called with the bytes done and the bytes in all.

    Raises:
        ArchiveExistsError: If the destination exists and may not be overwritten.
        MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        GridError: If a label map is on another grid than the image.
        VoxarrayError: What the source or the disk finds wrong; nothing was published.
    """
    began = time.perf_counter()
    layers = dict(labels or {})
    _check_layers(source, layers)
    plans = {"": _plan(source, kind, table, options)}
    for name, layer in layers.items():
        same_levels = replace(options, levels=plans[""].metadata.levels, codec=None)
        plans[f"labels/{name}/"] = _plan(layer.source, "label", layer.table, same_levels)
    memory.require(
        max(plan.projected_peak for plan in plans.values()),
        f"converting {source.path or 'the image'}",
        "use a smaller chunk (--chunk) or raise the budget",
    )
    count = _Count(progress, sum(plan.voxel_bytes for plan in plans.values()))
    target = os.path.abspath(destination)
    with staging(target, options.overwrite) as area:
        digests = [plan.write(area, prefix, count) for prefix, plan in plans.items()]
        if layers:
            area.write("labels/zarr.json", documents.dump(documents.group(_label_list(layers))))
        area.seal({"bytes": source.bytes_on_disk, "sha256": digests[0]})
        size = sum(entry.size for entry in area.files.values())
        staged = zip_file.pack(area) if target.endswith(zip_file.SUFFIX) else area.root
        publish(staged, target, options.overwrite)
    levels = plans[""].metadata.levels
    return Conversion(target, count.total, size, time.perf_counter() - began, levels)


def projected_peak(source: Source, options: Options = Options()) -> int:
    """Bytes above what the process uses already that `convert` needs at its peak."""
    return _plan(source, "intensity", (), options).projected_peak


@dataclass(slots=True)
class _Count:
    progress: Progress | None
    total: int
    done: int = 0

    def add(self, size: int) -> None:
        self.done += size
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything about one image that is decided before its voxels are read."""

    storage: Storage
    metadata: ImageMetadata
    layouts: list[Layout]
    codec: str | None
    template: Source = field(repr=False)

    @property
    def factors(self) -> tuple[Factors, ...]:
        return self.metadata.factors

    @property
    def voxel_bytes(self) -> int:
        return int(np.prod(self.storage.source.shape)) * self.storage.source.dtype.itemsize

    @property
    def projected_peak(self) -> int:
        """Two blocks, the gathering chunks of the coarser levels, and what each thread holds."""
        finest = self.layouts[0]
        itemsize = self.storage.source.dtype.itemsize
        count, depth = finest.slab
        if self.storage.source.lazy:
            block = int(np.prod(finest.shard)) * itemsize
        else:
            block = count * depth * finest.shape[2] * finest.shape[3] * itemsize
        rows = sum(
            int(np.prod([level.chunk[0], level.chunk[1], *level.shape[2:]]))
            for level in self.layouts[1:]
        )
        chunk = chunk_bytes(finest, self.storage.dtype)
        return 2 * block + rows * self.storage.dtype.itemsize + 6 * settings.threads() * chunk

    def write(self, area: Staging, prefix: str, count: _Count) -> str | None:
        """Write the group with all levels; returns the sha256 of the source's file."""
        digests: list[str | None] = []
        stream = blocks(self.storage.source, self.layouts[0], digests.append)
        threads = settings.threads()
        with (
            ThreadPoolExecutor(threads, "voxarray-encode") as cpu,
            ThreadPoolExecutor(1, "voxarray-sync") as disk,
        ):
            box, block = next(stream)
            codec = profile(self.codec or _suitable(block))
            cascade = self._cascade(area, prefix, codec, cpu, disk)
            try:
                while True:
                    cascade.put(box, block)
                    count.add(block.nbytes)
                    try:
                        box, block = next(stream)
                    except StopIteration:
                        break
                cascade.close()
            except BaseException:
                cascade.abandon()
                raise
        self._write_documents(area, prefix, codec)
        return digests[0]

    def _cascade(
        self,
        area: Staging,
        prefix: str,
        codec: Codec,
        cpu: ThreadPoolExecutor,
        disk: ThreadPoolExecutor,
    ) -> Cascade:
        writers = [
            LevelWriter(
                area.root,
                f"{prefix}{level_name(number)}/{IMAGE}",
                layout,
                self.storage.dtype,
                codec,
                disk,
                cpu,
                area.record,
            )
            for number, layout in enumerate(self.layouts)
        ]
        reduce = mode if self.metadata.kind == "label" else mean
        return Cascade(writers, self.factors, reduce, self.storage.convert, cpu)

    def _write_documents(self, area: Staging, prefix: str, codec: Codec) -> None:
        shape = self.template.shape[1:]
        attributes = self.metadata.attributes(shape, of_image=bool(prefix))
        area.write(f"{prefix}zarr.json", documents.dump(documents.group(attributes)))
        for number, grid in enumerate(self.metadata.grids(shape)):
            folder = f"{prefix}{level_name(number)}"
            array = documents.sharded_array(
                self.layouts[number],
                self.storage.dtype,
                codec,
                (self.metadata.axis, "z", "y", "x"),
                _array_attributes(self.storage),
            )
            area.write(f"{folder}/{IMAGE}/zarr.json", documents.dump(array))
            write_level_frame(area, folder, grid)
        write_nifti_header(area, prefix, self.template, self.storage)


def _plan(source: Source, kind: Any, table: Sequence[Label], options: Options) -> _Plan:
    storage = storage_of(source)
    channels, width, height, depth = source.shape
    shape = (channels, depth, height, width)
    base = choose(shape, storage.dtype.itemsize, options.chunk_edge)
    x, y, z = source.grid.spacing
    factors = pyramid_factors(shape, (z, y, x), options.levels, options.chunk_edge)
    layouts = [base]
    for step in factors:
        layouts.append(coarser(layouts[-1], step))
    metadata = ImageMetadata(
        kind=kind,
        affine=tuple(tuple(row) for row in source.affine.tolist()),
        dtype=source.dtype.name,
        channels=source.channels,
        scaling=storage.kept,
        factors=tuple(factors),
        labels=tuple(table),
        history=({"operation": "convert", "version": __version__},),
    )
    codec = options.codec or ("label" if kind == "label" else None)
    return _Plan(storage, metadata, layouts, codec, source)


def _suitable(block: np.ndarray) -> str:
    """Profile for intensities: floats that are whole numbers compress as labels do."""
    if block.dtype.kind == "f" and bool(np.all(np.rint(block) == block)):
        return "label"
    return "intensity"


def _array_attributes(storage: Storage) -> dict[str, Any]:
    attributes: dict[str, Any] = {"coordinates": "spatial_ref"}
    if storage.kept is not None:  # CF conventions, section 8.1 "Packed data"
        attributes["scale_factor"] = storage.kept.slope
        attributes["add_offset"] = storage.kept.intercept
    return attributes


def _label_list(layers: Mapping[str, LabelLayer]) -> dict[str, Any]:
    return {"ome": {"version": "0.5", "labels": sorted(layers)}}


def _check_layers(source: Source, layers: Mapping[str, LabelLayer]) -> None:
    for name, layer in layers.items():
        if not name or "/" in name or name.startswith("."):
            raise FormatError(f"{name!r} cannot name a label map: use a plain word")
        if not source.grid.isclose(layer.source.grid):
            raise GridError(
                f"the label map {name!r} has {layer.source.grid} where the image has "
                f"{source.grid}: resample it onto the image first",
                code="GRID_MISMATCH",
            )
