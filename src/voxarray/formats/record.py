"""What voxarray knows of a file format, as one value; and what it asks of the one that writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from voxarray.geometry.levels import Levels
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
        name: For people, such as ``"MGH"``.
        suffixes: In lower case, with the first dot; the longest that fits a name wins.
        open: Takes the path of a file or folder and returns a `Source`.
        write: Takes a `SaveRequest`; None if the format is only read.
        writes: Suffixes that can be written; None for all.
        peak: Takes a `Source` and returns the bytes of memory that writing needs.
        companions: Of a file without a header, the suffixes that the file with its header may
            have, the likeliest first.
        identity: Which files an image is read from.
        detached: Suffixes of headers whose voxels are in another file, which they name.
        data_file: Takes the first bytes of a file and returns the name of the file of voxels that
            the header in it gives; empty if they are in the same file.
        in_folders: Whether files are images when a folder is searched. Pictures and arrays, which
            in a folder of scans are reports and transforms, have to be named one by one.
        keywords: Those of `KEYWORDS` that writing can use.
        in_order: Whether writing takes the voxels once and in disk order, so that they may be made
            meanwhile.
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

    @property
    def written(self) -> tuple[str, ...]:
        """Suffixes that can be written."""
        if self.write is None:
            return ()
        return self.suffixes if self.writes is None else self.writes


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """What is to be saved, and how.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.SaveRequest(scan.source, "scan.plain").overwrite
        False

    Attributes:
        source: All voxels and their place.
        path: Destination.
        label: Whether it is a label map.
        overwrite: Whether to replace what is there.
        squeeze: Whether a single slice is written as two dimensions; None is the format's habit.
        codec: Profile of an archive's codec; None is the archive's habit, as for what follows.
        levels: Pyramid levels of an archive.
        chunks: Edge of an archive's chunks, in voxels.
        progress: Told how many bytes of how many are done; None shows nothing.
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
