"""What voxarray knows of a file format, as one value; and what it asks of the one that writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxarray.geometry.pyramid_levels import Levels
from voxarray.source.base import Source

Identity = Literal["file", "stem", "detached", "set", "folder", "zarr"]
"""Which files an image is read from: one, all of one stem, the one that a header names, those of an
OME-TIFF set, those of a folder, or a Zarr store's."""

STREAMED = "voxarray.formats._voxels.write_voxels:projected_peak"
"""Peak of the formats that are written slab by slab."""

KEYWORDS = ("squeeze", "codec", "levels", "chunks")
"""Keywords of saving that only some formats can use."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Functions are named as ``"module:function"`` and imported when they are used.

    Examples:
        >>> plain = vx.Format("Plain", (".plain",), open="my_package.plain:open_plain")
        >>> plain.written
        ()

    Attributes:
        name: Name to show, such as ``"MGH"``.
        suffixes: In lower case, with the leading dot; the longest one that matches a name wins.
        open: Takes the path of a file or folder and returns a `Source`.
        write: Takes a `SaveRequest`; None if the format is only read.
        writes: Suffixes that can be written; None for all.
        peak: Takes a `Source` and returns the bytes of memory that writing needs.
        companions: For suffixes whose files have no header of their own: pairs of such a suffix and
            the suffixes of the file that may hold the header, the most likely first.
        identity: Which files an image is read from: ``"file"``, the file alone; ``"stem"``, all
            files of the same stem; ``"detached"``, the file and the one that its header names;
            ``"set"``, those of an OME-TIFF set; ``"folder"``, those of a folder; ``"zarr"``, a Zarr
            store.
        detached: Suffixes of header files that name another file with the voxels.
        data_file: Takes the first bytes of a header file and returns the name of the file with the
            voxels; empty if they are in the same file.
        in_folders: Whether a search of a folder takes such files for images. Pictures and arrays
            are read only if their own paths are given: in a folder of scans, they usually are
            reports and transforms.
        keywords: Keywords of ``save`` that the writer uses, out of ``"squeeze"``, ``"codec"``,
            ``"levels"`` and ``"chunks"``.
        held_affine: Takes a `Source` that was saved, and returns the (4, 4) affine (RAS+, mm) with
            which the file is read. Leave this attribute None if the file stores the source's
            affine; TIFF and picture files do not, since they store no position in the patient.
        held_dtype: Takes a `Source` that was saved and the path of the file, and returns the type
            with which voxels are read from the file. Leave this attribute None if the file stores
            the source's type. MINC needs it, for example: it scales integers.
        changes_voxels: Whether voxels may be read with other values or channels than were saved:
            JPEG is lossy, and a grey BMP is read with three channels.
        in_order: Whether the writer reads the voxels once and in disk order, so that they can be
            computed while it writes.
    """

    name: str
    suffixes: tuple[str, ...]
    open: str | None = None
    write: str | None = None
    writes: tuple[str, ...] | None = None
    peak: str = STREAMED
    companions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    identity: Identity = "file"
    detached: tuple[str, ...] = ()
    data_file: str | None = None
    in_folders: bool = True
    keywords: tuple[str, ...] = ()
    in_order: bool = False
    held_affine: str | None = None
    held_dtype: str | None = None
    changes_voxels: bool = False

    @property
    def written(self) -> tuple[str, ...]:
        """Suffixes that can be written."""
        if self.write is None:
            return ()
        return self.suffixes if self.writes is None else self.writes


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """An image to save, and the options.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.SaveRequest(scan.source, "scan.plain").overwrite
        False

    Attributes:
        source: All voxels and their affine.
        path: Destination.
        label: Whether it is a label map.
        overwrite: Whether to replace what is there.
        squeeze: Whether a single slice is written as two dimensions; None leaves it to the format.
        codec: Profile of an archive's codec; None for the default.
        levels: Pyramid levels of an archive; None for the default.
        chunks: Edge of an archive's chunks, in voxels; None for the default.
        progress: Called with the bytes done and the bytes in all; None shows nothing.
        facts: What an archive records about the source, besides its size and sha256; files of
            other formats do not hold it.
    """

    source: Source
    path: str
    label: bool = False
    overwrite: bool = False
    squeeze: bool | None = None
    codec: str | None = None
    levels: Levels = None
    chunks: int | None = None
    progress: Callable[[int, int], None] | None = None
    facts: Mapping[str, Any] | None = None
