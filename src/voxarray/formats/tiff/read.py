"""TIFF, through tifffile: uncompressed stacks by offset, others page by page.

Sizes of voxels are those of OME-XML, ImageJ or the resolution; what is not said is 1 mm, with a
warning. Axes are ITK's default, LPS. Rows run along H, columns along W.

The planes of an OME-TIFF may lie in several files, of which each describes all.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import (
    FormatError,
    UnsupportedError,
    VoxarrayWarning,
)
from voxarray.core.memory import require
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import checked_sizes, detached
from voxarray.formats._voxels.picture_checks import require_whole_tiff
from voxarray.formats.tiff.ome_xml import OmeXml
from voxarray.formats.tiff.pages import PagedTiff, opened_tiff, page_block, table_bytes
from voxarray.formats.tiff.segments import Segments
from voxarray.formats.tiff.size import TiffSize
from voxarray.geometry.lps import ras_from_itk
from voxarray.source.base import Channels
from voxarray.storage.file_identity import FileIdentity

_ROLES = {"S": 0, "C": 0, "T": 0, "X": 1, "Y": 2, "Z": 3, "I": 3, "Q": 3}
"""Which of C, W, H, D the axes are that tifffile names; pages of unknown meaning are slices."""

_GREY, _COLOURS = 1, 2

_ORIENTATION = 274

_UNCOUNTED = 1 << 20
"""What headers of any format take before it is projected."""


def open_tiff(path: str | os.PathLike[str]) -> FileArray:
    """A TIFF plane or stack of grey or colour pages; only headers of pages are read.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``BAD_HEADER``, ``BAD_AFFINE``, ``DIMS_EXCEED_FILE``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: ``NO_CODEC``, ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``,
            ``SEVERAL_SERIES``.
        MissingPackageError: tifffile is not installed.
        MemoryBudgetError: The tables that say where its strips or tiles lie need more memory than
            allowed; they were not read.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        fd = identity.open()
        try:
            pages, segments = require_whole_tiff(fd)
        finally:
            os.close(fd)
        if (tables := table_bytes(pages, segments)) > _UNCOUNTED:
            require(
                tables,
                lambda: f"opening {identity.path}, a TIFF of {segments:,} strips or tiles,",
                "raise the budget, or write it with larger tiles",
            )
        with opened_tiff(identity.path) as file:
            source, remarks = _source(identity, file)
    for remark in remarks:
        warn_caller(f"{remark} [{identity.path}]", VoxarrayWarning)
    return source


def _relation(file: Any) -> str:
    """How the images of a file belong together, and what to do."""
    if len({(series.shape, series.dtype) for series in file.series}) > 1:
        return "of different kinds: split it"
    return (
        "of one shape and type, but does not say whether they are the planes of one stack: if they "
        "are, write it again, tifffile.imwrite(new, tifffile.imread(old, key=slice(None)), "
        'photometric="minisblack"); if not, split it'
    )


def _source(identity: FileIdentity, file: Any) -> tuple[FileArray, list[str]]:
    ome = OmeXml.parse(file.ome_metadata, file.filename) if file.is_ome else None
    parts = _parts(identity, ome)  # before tifffile goes where the document leads
    if len(file.series) != 1:
        raise UnsupportedError(
            f"the file holds {len(file.series)} images {_relation(file)}",
            code="SEVERAL_SERIES",
        )
    series = file.series[0]
    page = series.keyframe
    _require_plain_pixels(page)
    stored = _stored(series, np.dtype(page.dtype).newbyteorder(file.byteorder))
    size = TiffSize.of(file, ome)
    common: dict[str, Any] = {
        "identity": identity,
        "parts": parts,
        "affine": _affine(size),
        "channels": Channels("time", size.step) if "T" in series.axes else Channels(),
    }
    remarks = _remarks(size, stored, ome)
    if series.dataoffset is not None and not parts:
        return PlainFile(stored=stored, **common), remarks
    if any(item is None for item in series.pages):
        raise FormatError(
            "the description in the file names a page that the file lacks: export the image again",
            code="BAD_HEADER",
        )
    page.decode  # noqa: B018  # says now, not at the first read, if a codec is missing
    leading = 4 - len(page.shape)
    if math.prod(stored.disk_shape[:leading]) != len(series.pages):
        raise UnsupportedError(
            "the pages do not form a grid of slices, channels or time points: split the file",
            code="UNSUPPORTED_DIMS",
        )
    segments = Segments.of(page)
    block = page_block(stored.disk_shape[leading:], stored.dtype.itemsize, segments)
    common |= {"leading": leading, "segments": segments, "page_block": block}
    return PagedTiff(stored=stored, **common), remarks


def _parts(identity: FileIdentity, ome: OmeXml | None) -> tuple[FileIdentity, ...]:
    """The other files that hold planes, which must lie in the folder of the file or below.

    Raises:
        FormatError: One lies elsewhere (``OUTSIDE_ROOT``).
        MissingFileError: One is not there.
    """
    names = () if ome is None else tuple(name for name in ome.files if name != ome.file_name)
    return tuple(detached(identity, name, is_pattern=False) for name in names)


def _remarks(size: TiffSize, stored: StoredVoxels, ome: OmeXml | None) -> list[str]:
    remarks = list(size.remarks)
    if stored.shape[3] > 1 and size.spacing[2] is None:
        remarks.append(
            "NO_SLICE_SPACING: the file does not say how far slices are apart; taken as 1 mm, as "
            "ITK does"
        )
    if ome is not None and ome.described_in:
        remarks.append(
            "PART_OF_IMAGE: this file holds only some planes of an image, and only these are read. "
            f"To read all planes, open {ome.described_in!r}"
        )
    return remarks


def _require_plain_pixels(page: Any) -> None:
    dtype = np.dtype(page.dtype or "V1")
    is_plain = dtype.kind in "iufc" and page.bitspersample == 8 * dtype.itemsize
    if (
        not is_plain
        or page.photometric not in (_GREY, _COLOURS)
        or page.tags.valueof(_ORIENTATION, 1) not in (1, None)
    ):
        raise UnsupportedError(
            f"pixels of {page.bitspersample} bits, photometric interpretation {page.photometric}: "
            "expected grey or RGB numbers, stored with the top row first; convert the file",
            code="UNSUPPORTED_DTYPE",
        )


def _stored(series: Any, dtype: np.dtype) -> StoredVoxels:
    """Axes as tifffile names them, each with its role; those of size 1 may be left out."""
    shape = checked_sizes([int(n) for n in series.shape], len(_ROLES))
    named_sizes = list(zip(series.axes, shape, strict=True))
    inner = len(series.keyframe.shape)
    sizes = dict.fromkeys(range(4), 1)
    order: list[int] = []
    for position, (axis, size) in enumerate(named_sizes):
        role = _ROLES.get(axis)
        if size == 1 and (role is None or role in order) and position < len(named_sizes) - inner:
            continue
        if role is None or role in order:
            raise UnsupportedError(
                f"axes {series.axes} of {series.shape} are not (C, W, H, D): split the file",
                code="UNSUPPORTED_DIMS",
            )
        order.append(role)
        sizes[role] = size
    a, b, c, d = (*(role for role in range(4) if role not in order), *order)
    offset = series.dataoffset or 0
    return StoredVoxels((sizes[0], sizes[1], sizes[2], sizes[3]), dtype, (a, b, c, d), offset)


def _affine(size: TiffSize) -> NDArray[np.float64]:
    spacing = [1.0 if mm is None else mm for mm in size.spacing]
    return ras_from_itk(spacing, [0.0, 0.0, 0.0], np.eye(3).ravel().tolist())
