"""Pages of a TIFF that cannot be read by offset: compressed, tiled or scattered ones.

A page is decoded whole and kept for a while; of one that is too large for that, the strips or
tiles that a read touches.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError, VoxarrayError
from voxarray.core.memory import cache_limit, require
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.file_array import Box, FileArray
from voxarray.formats._voxels.stream_decoders import BZIP2_RATIO
from voxarray.formats.tiff.segments import Place, Segments
from voxarray.geometry.selection import Shape4
from voxarray.source.block_cache import BLOCKS
from voxarray.source.slabs import SLAB_BYTES, copy_from_slab

_SILENT = logging.NullHandler()

_SEGMENT_HEADER = 4096
"""Bytes of tables that a JPEG or other codec may put before its pixels."""

_PAGE_BYTES, _SEGMENT_BYTES = 1024, 64
"""Memory that tifffile needs, while a file is open, for a page and for each strip or tile of it."""

_DECODING = 3
"""A segment as it is stored, as its codec makes it, and in its type and order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PagedTiff(FileArray):
    """Pages, each of which is decoded for itself.

    Attributes:
        leading: Number of axes, from the slowest on, that count pages.
        segments: The strips or tiles of each page.
        page_block: Sizes, along the axes of a page, that are best read at once: all of it, or of
            a large one some segments.
    """

    leading: int
    segments: Segments
    page_block: tuple[int, ...]

    def _check_extent(self) -> None:
        self.stored.require_decoded(self.identity.size, BZIP2_RATIO)

    @property
    def _block(self) -> Shape4:
        a, b, c, d = (*(1,) * self.leading, *self.page_block)
        return a, b, c, d

    @property
    def reading_bytes(self) -> int:
        stored, pages = self.stored, math.prod(self.stored.disk_shape[: self.leading])
        tables = table_bytes(pages, pages * math.prod(self.segments.counts))
        cached_bytes = min(stored.nbytes, cache_limit())
        # Segments of a large page are put together: what the cache keeps is not what is handed out.
        joined = math.prod(self.page_block) * stored.dtype.itemsize if self._by_segments else 0
        return cached_bytes + joined + self._decoding_bytes + tables

    @property
    def _decoding_bytes(self) -> int:
        """What the smallest part that can be decoded needs: a page or a segment."""
        if self._by_segments:
            return _DECODING * math.prod(self.segments.step) * self.stored.dtype.itemsize
        return 2 * math.prod(self._page_shape) * self.stored.dtype.itemsize

    @property
    def _by_segments(self) -> bool:
        return self.page_block != self._page_shape

    @property
    def _page_shape(self) -> tuple[int, ...]:
        return self.stored.disk_shape[self.leading :]

    def _read_stored(self, box: Box, out: NDArray) -> None:
        within = tuple(slice(r.start, r.stop, r.step) for r in box[self.leading :])
        sizes = self.stored.disk_shape[: self.leading]
        with self.opened(), opened_tiff(self.identity.path) as file:
            pages = file.series[0].pages
            for position in itertools.product(*(range(len(r)) for r in box[: self.leading])):
                index = [r[n] for r, n in zip(box, position, strict=False)]
                number = int(np.ravel_multi_index(index, sizes)) if index else 0
                if self._by_segments:
                    self._read_segments(pages[number], number, box[self.leading :], out[position])
                    continue
                key = self.identity, self.parts, "page", number
                page = BLOCKS.get(key, functools.partial(self._decode, pages[number]))
                out[position] = page[within]

    def _read_segments(self, page: Any, number: int, box: Box, out: NDArray) -> None:
        full = self.segments.in_full(self._page_shape, box)
        filled = out.reshape([len(r) for r in full])  # a view: memory is contiguous
        for segment, extent in self.segments.touching(full):
            key = self.identity, self.parts, "page", number, segment
            make = functools.partial(self._decode_segment, page, segment, extent)
            copy_from_slab(BLOCKS.get(key, make), extent, full, filled)

    def _decode(self, page: Any) -> NDArray:
        self._require_room("a page")
        with _opened_file(page) as handle:
            size = os.path.getsize(handle.path)
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                _require_within(start, count, size)
            _refuse_bombs(page, max(page.databytecounts, default=0))
            voxels = np.asarray(page.asarray())
        return self._as_block(voxels, self._page_shape)

    def _decode_segment(self, page: Any, number: int, extent: Place) -> NDArray:
        self._require_room("a strip or tile")
        tables = page.dataoffsets, page.databytecounts
        if any(len(table) <= number for table in tables):
            raise TruncatedError(
                "the page has fewer strips or tiles than its size asks for: copy or download the "
                "file again"
            )
        start, count = (int(table[number]) for table in tables)
        with _opened_file(page) as handle:
            _require_within(start, count, os.path.getsize(handle.path))
            _refuse_bombs(page, count)
            handle.seek(start)
            stored = handle.read(count)
        voxels, _, _ = page.keyframe.decode(
            stored, number, jpegtables=page.jpegtables, jpegheader=page.keyframe.jpegheader
        )
        shape = tuple(len(part) for part in extent)
        voxels = voxels[tuple(slice(n) for n in shape[1:])]  # tiles reach beyond the page
        if voxels.shape != shape[1:]:
            raise TruncatedError(
                f"a strip or tile of {shape[1:]} pixels has {voxels.shape} of them: it was cut "
                "short, or the header is wrong; copy it again, or repair the header"
            )
        return self._as_block(voxels, shape)

    def _as_block(self, voxels: NDArray, shape: tuple[int, ...]) -> NDArray:
        block = voxels.astype(self.stored.native).reshape(shape)
        block.flags.writeable = False
        return block

    def _require_room(self, part: str) -> None:
        require(
            self._decoding_bytes,
            lambda: f"decoding {part} of {self.path}, which is decoded as a whole,",
            "raise the budget, or convert it on a machine with more memory",
        )


def table_bytes(pages: int, segments: int) -> int:
    """What tifffile holds of pages, and of all their strips and tiles, while a file is open."""
    return pages * _PAGE_BYTES + segments * _SEGMENT_BYTES


def page_block(shape: tuple[int, ...], itemsize: int, segments: Segments) -> tuple[int, ...]:
    """What is best read at once of a page; decided once, so that chunks of a graph stay the same.

    Args:
        shape: Sizes of the page along the axes of the image.
        itemsize: Bytes of a number.
        segments: How the page is divided.
    """
    # What the cache cannot keep would be decoded again for each of its rows.
    target = min(SLAB_BYTES, cache_limit() // 2)
    if math.prod(shape) * itemsize <= target:
        return shape
    return segments.as_shown(shape, segments.block(target // itemsize))


@contextmanager
def opened_tiff(path: str) -> Iterator[Any]:
    """A `tifffile.TiffFile`; whatever it stumbles over is an error with a name.

    Raises:
        MissingPackageError: tifffile is not installed.
        UnsupportedError: The package with its codecs is not installed (``NO_CODEC``).
        FormatError: ``BAD_HEADER``.
    """
    tifffile = import_optional("tifffile", "voxarray[tiff]", path=path)
    # Otherwise its remarks are printed, and they quote the file.
    logging.getLogger("tifffile").addHandler(_SILENT)
    file = None
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except VoxarrayError:
        raise
    except Exception as error:
        if "imagecodecs" in str(error):
            raise UnsupportedError(
                f"{str(error).strip(chr(34))}: pip install imagecodecs", code="NO_CODEC"
            ) from None
        raise FormatError(
            f"tifffile cannot read this file ({type(error).__name__}: {error}): it has another "
            "format or is damaged; check its suffix, or copy it again",
            code="BAD_HEADER",
        ) from error
    finally:
        if file is not None:
            _let_go(file)


def _let_go(file: Any) -> None:
    """Free the tables of a closed file, whose objects name each other: of a plane of 55,000 tiles
    they are 3 MiB, and wait for the garbage collector after every read.
    """
    attributes = vars(file)
    # tifffile of November 2026 keeps a list for each way to group pages.
    lists = (
        [attributes["series"]]
        if "series" in attributes
        else list(attributes.get("_series", {}).values())
    )
    series = [item for each in lists for item in each]
    for item in (*(each.keyframe for each in series), *series, file.pages, file):
        getattr(item, "__dict__", {}).clear()


@contextmanager
def _opened_file(page: Any) -> Iterator[Any]:
    """The file in which a page lies; the others of a set are closed until they are needed."""
    handle = page.parent.filehandle
    was_closed = handle.closed
    if was_closed:
        handle.open()
    try:
        yield handle
    finally:
        if was_closed:
            handle.close()


def _require_within(start: int, count: int, size: int) -> None:
    if not (start and count and start + count <= size):
        raise TruncatedError(
            "a strip or tile of a page ends beyond the end of the file, or has no position or "
            "length: copy or download the file again"
        )


def _refuse_bombs(page: Any, longest: int) -> None:
    """Refuse a strip or tile of more compressed bytes than its pixels could ever take.

    No codec of TIFF makes twice as much of what does not compress, and tifffile decodes all that
    there is before it looks at the size.
    """
    raw = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
    if page.compression != 1 and longest > 2 * raw + _SEGMENT_HEADER:
        raise FormatError(
            f"a strip or tile of {raw} bytes of pixels is stored as {longest} compressed bytes: "
            "the header is wrong, or the file was made to do harm; repair the header, or delete "
            "the file",
            code="BOMB",
        )
