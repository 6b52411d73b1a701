"""An archive as a source: any of its pyramid levels, or one of its label maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import handle_cache, root_prefix
from voxarray.archive.documents import ArrayDocument, attributes_of
from voxarray.archive.layer_names import names_in
from voxarray.archive.locate import ArchiveLocation, locate
from voxarray.archive.manifest import Manifest
from voxarray.archive.metadata import IMAGE, NIFTI, ImageMetadata, Label, level_name
from voxarray.archive.reader import Receive, ShardedArray
from voxarray.core import settings
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    OutOfRangeError,
    SourceChangedError,
    VoxarrayWarning,
)
from voxarray.core.history import History
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import Grid
from voxarray.geometry.layout import chunk_bytes
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest
from voxarray.source.sliced import SlicedSource
from voxarray.storage.saved_together import SavedTogether
from voxarray.storage.store import Store

if TYPE_CHECKING:
    from voxarray.counting.cells import CellCounts, CellSums

_CHUNKS_PER_THREAD = 3
"""Copies of a chunk in one thread that reads: encoded, decoded, and one without gaps."""

_ATTEMPTS = 20
"""How often opening is repeated, if the archive is changed meanwhile."""


@dataclass(frozen=True, eq=False)
class ArchiveSource(Source):
    """One level of an archived image.

    Attributes:
        store: Where the archive lies.
        opened: Identity of the archive when it was opened.
        prefix: Folder of the image in the archive, with a final slash; empty for its main image.
        image: What the archive says about the image.
        array: The voxels of this level.
        grid_of_level: Where they are.
        number: The level.
        dtype: Type that reading presents.
        scaling: Slope and intercept that reading applies.
    """

    store: Store
    opened: Hashable
    prefix: str
    image: ImageMetadata
    array: ShardedArray
    grid_of_level: Grid
    number: int
    dtype: np.dtype = field(kw_only=True)
    scaling: Scaling | None = field(kw_only=True)

    @property
    def path(self) -> str:
        return os.path.join(self.store.path, root_prefix.plain(self.prefix)).rstrip("/")

    @property
    def shape(self) -> Shape4:
        n, z, y, x = self.array.layout.shape
        return n, x, y, z

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.grid_of_level.affine

    @property
    def chunks(self) -> Shape4:
        n, z, y, x = (
            min(shard, size)
            for shard, size in zip(self.array.layout.shard, self.array.layout.shape, strict=True)
        )
        return n, x, y, z

    @property
    def decoding_bytes(self) -> int:
        array = self.array
        if array.store.requests is not None or not array.codec.cname or self.scaling is not None:
            return self.reading_bytes
        # A block is a shard, of which chunks are decoded alone, straight into the result: with its
        # size counted, float32 was refused 128 MiB where 56 were needed.
        chunks = _CHUNKS_PER_THREAD * settings.threads() * chunk_bytes(array.layout, array.dtype)
        return min(self.reading_bytes, chunks)

    @property
    def channels(self) -> Channels:
        return self.image.channels

    @property
    def history(self) -> History:
        return self.image.history

    @property
    def levels(self) -> int:
        return self.image.levels

    @property
    def saved_together(self) -> SavedTogether | None:
        """The call that saved the archive with others; None if it was saved by itself."""
        facts = handle_cache.manifest(self.store, self.opened).source
        return SavedTogether.parse(self.store.path, facts)

    @property
    def label_table(self) -> tuple[Label, ...]:
        return self.image.labels

    @property
    def label_maps(self) -> list[str]:
        """Names of the label maps that the archive holds beside the image, sorted."""
        return names_in(handle_cache.manifest(self.store, self.opened).files, self.prefix)

    @property
    def nifti_header(self) -> bytes | None:
        from voxarray.archive import header_array

        array = f"{self.prefix}{NIFTI}"
        key = f"{array}/{header_array.KEY}"
        if self.number or key not in handle_cache.manifest(self.store, self.opened).files:
            return None
        chunk, document = (
            handle_cache.document(self.store, self.opened, part)
            for part in (key, f"{array}/zarr.json")
        )
        return header_array.decoded(chunk, document, os.path.join(self.store.path, array))

    @property
    def label_counts(self) -> CellCounts | None:
        """How often each label occurs in each chunk; None if that was not counted."""
        from voxarray.archive.chunk_statistics import LABEL_COUNTS, parse_label_counts

        raw = self._beside(LABEL_COUNTS)
        return None if raw is None else parse_label_counts(raw, self.array.layout)

    def weight_sums(self, channel: int) -> CellSums | None:
        """Sum of the voxels of each chunk; None if the archive does not store sums."""
        from voxarray.archive.chunk_statistics import WEIGHT_SUMS, parse_weight_sums

        raw = self._beside(WEIGHT_SUMS)
        return None if raw is None else parse_weight_sums(raw, self.array.layout, channel)

    def _beside(self, name: str) -> bytes | None:
        """The only chunk of a table of the full resolution; None for other levels."""
        key = f"{self.prefix}{name}/c/0/0"
        if self.number or key not in handle_cache.manifest(self.store, self.opened).files:
            return None
        return handle_cache.document(self.store, self.opened, key)

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of the files of this image, by the manifest."""
        files = handle_cache.manifest(self.store, self.opened).files
        return sum(entry.size for key, entry in files.items() if key.startswith(self.prefix))

    def level(self, number: int) -> ArchiveSource:
        if not 0 <= number < self.levels:
            raise OutOfRangeError(
                f"{self.path} has no level {number}: the number of the coarsest level is "
                f"{self.levels - 1}, and level 0 has full resolution",
                code="NO_LEVEL",
                path=self.path,
            )
        return _open_level(self.store, self.opened, self.prefix, number)

    def read(self, selection: Selection) -> NDArray:
        handle_cache.require_current(self.store, self.opened, self.array.key)
        n, x, y, z = selection.ranges
        return self._presented(self.array.read((n, z, y, x)).transpose(0, 3, 2, 1))

    def scan(self, selection: Selection, start: Callable[[], Receive]) -> None:
        """Hand out the voxels of a selection chunk by chunk, in several threads at once.

        Args:
            selection: Which voxels; the order of its ranges does not matter.
            start: Called once by each thread; what it returns is given the thread's chunks, of
                four axes in no particular order, or None and the number of voxels that are 0.
        """

        def begin() -> Receive:
            receive = start()

            def present(voxels: NDArray | None, number: int) -> None:
                if voxels is None and self.scaling is not None:
                    voxels = np.zeros((number, 1, 1, 1), self.array.dtype)
                receive(None if voxels is None else self._presented(voxels), number)

            return present

        handle_cache.require_current(self.store, self.opened, self.array.key)
        n, x, y, z = selection.ranges
        self.array.scan((n, z, y, x), begin)

    def _presented(self, stored: NDArray) -> NDArray:
        if self.scaling is not None:
            return self.scaling.apply(stored)
        return stored.astype(self.dtype, copy=False)

    def read_into(self, selection: Selection, out: NDArray) -> None:
        if self.scaling is not None or not out.dtype == self.array.dtype == self.dtype:
            super().read_into(selection, out)
            return
        handle_cache.require_current(self.store, self.opened, self.array.key)
        n, x, y, z = selection.ranges
        self.array.read((n, z, y, x), out.transpose(0, 3, 2, 1))

    @property
    def is_remote(self) -> bool:
        """Whether its chunks come over a network."""
        return self.store.requests is not None

    def fetch_ahead(self, selection: Selection, most: int) -> int:
        """Fetch what a later `read` needs into the cache, in the background; only if it is remote.

        Args:
            selection: Which voxels.
            most: Bytes; if more have to be fetched, nothing is.

        Returns:
            Bytes that are fetched now.

        Raises:
            VoxarrayError: If the index of a shard cannot be read.
        """
        n, x, y, z = selection.ranges
        return self.array.fetch_ahead((n, z, y, x), most)

    def unscaled(self) -> ArchiveSource:
        if self.scaling is None:
            return self
        return replace(self, scaling=None, dtype=self.array.dtype)

    def token(self) -> str:
        return digest("archive", self.opened, self.array.key, self.scaling, self.dtype.name)


def open_archive(path: str | os.PathLike[str]) -> ArchiveSource:
    """Open an archive that voxarray wrote, or a label map in one (``x.ome.zarr/labels/brain``).

    Reads metadata only: the manifest and two small documents, each checked against it.

    Raises:
        MissingFileError: If there is nothing at the path, or no such label map.
        MissingDataError: If it has no manifest (``NO_MANIFEST``): it was not finished.
        ChecksumError: If metadata is damaged.
        FormatError: If it is not an archive of ours.
    """
    return open_place(locate(path), path)


def open_place(location: ArchiveLocation, path: str | os.PathLike[str]) -> ArchiveSource:
    """As `open_archive`, for an archive that was located already."""
    opened = handle_cache.identity(location.store)
    for _ in range(_ATTEMPTS):
        try:
            return _open(location, path, opened)
        except SourceChangedError:
            # No voxels were read yet, so the archive that is there now can be opened instead.
            current = handle_cache.identity(location.store)
            if current == opened:
                raise
            opened = current
    return _open(location, path, opened)


def _open(
    location: ArchiveLocation, path: str | os.PathLike[str], opened: Hashable
) -> ArchiveSource:
    store = location.store
    manifest = handle_cache.manifest(store, opened)
    prefix = _prefix(location, manifest)
    if prefix and f"{prefix}zarr.json" not in manifest.files:
        name, names = location.key.removeprefix("labels/"), label_names(store.path)
        raise MissingFileError(
            f"{store.path} has no label map {name!r}; its label maps are {names}: check the name. "
            "If this label map was removed, add it again (voxarray add-labels). If it had come "
            f"with the image, you can also {MAKE_AGAIN}",
            path=path,
        )
    return _open_level(store, opened, prefix, 0)


def label_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the label maps in an archive, sorted."""
    location = locate(path)
    store = location.store
    manifest = handle_cache.manifest(store, handle_cache.identity(store))
    return names_in(manifest.files, _prefix(location, manifest))


def remark_left_labels(source: Source) -> None:
    """Warn that the label maps of an archive stay behind when its image is written elsewhere.

    Warns:
        VoxarrayWarning: ``LABELS_LEFT``, with their names.
    """
    base = SlicedSource.base_of(source)
    if not isinstance(base, ArchiveSource):
        return
    files = handle_cache.manifest(base.store, base.opened).files
    if names := names_in(files, base.prefix):
        warn_caller(
            f"LABELS_LEFT: only the image of {base.path} is written, not its label maps {names}: "
            f"convert them one by one, such as {base.path}/labels/{names[0]}. In Python, name the "
            "label maps in labels= of vx.convert to write them into the new archive, too; "
            "labels={} hides this warning",
            VoxarrayWarning,
        )


def _prefix(location: ArchiveLocation, manifest: Manifest) -> str:
    """Prefix of the keys of the image at a location."""
    if not location.prefix or f"{location.prefix}zarr.json" not in manifest.files:
        return root_prefix.root_of(manifest.files) + location.prefix
    return location.prefix


@lru_cache(maxsize=256)
def _image(store: Store, opened: Hashable, prefix: str) -> ImageMetadata:
    raw = handle_cache.document(store, opened, f"{prefix}zarr.json")
    path = os.path.join(store.path, prefix)
    return ImageMetadata.parse(attributes_of(raw, path), path)


@lru_cache(maxsize=256)
def _open_level(store: Store, opened: Hashable, prefix: str, number: int) -> ArchiveSource:
    image = _image(store, opened, prefix)
    key = f"{prefix}{level_name(number)}/{IMAGE}"
    raw = handle_cache.document(store, opened, f"{key}/zarr.json")
    document = ArrayDocument.parse(raw, f"{store.path}/{key}")
    array = ShardedArray(store, opened, key, document.layout, document.dtype, document.codec)
    _, depth, height, width = document.layout.shape
    grid = Grid((width, height, depth), np.array(image.affine))
    if number:
        base = _open_level(store, opened, prefix, 0)
        grid = image.grids(base.grid_of_level.shape)[number]
        if grid.shape != (width, height, depth):
            raise FormatError(
                f"level {number} of {store.path} has {(width, height, depth)} voxels, but the "
                f"factors of its pyramid give {grid.shape}: restore the archive, or {MAKE_AGAIN}",
                code="BAD_METADATA",
                path=store.path,
            )
    return ArchiveSource(
        store,
        opened,
        prefix,
        image,
        array,
        grid,
        number,
        dtype=np.dtype(image.dtype),
        scaling=image.scaling,
    )


def is_label_map(source: Source) -> bool:
    """Whether a source is a label map of an archive, or a slice of one."""
    base = SlicedSource.base_of(source)
    return isinstance(base, ArchiveSource) and base.image.kind == "label"
