"""Options of a conversion to an archive, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voxarray.archive.profiles import profile
from voxarray.geometry.layout import DEFAULT_CHUNK
from voxarray.geometry.pyramid_levels import Levels, checked
from voxarray.source.base import Source

if TYPE_CHECKING:
    from voxarray.archive.metadata import Label
    from voxarray.storage.remote.objects import Stamp


@dataclass(frozen=True, slots=True)
class Options:
    """How an archive is made.

    Attributes:
        levels: Pyramid levels: their number, the base included; ``"all"`` down to one chunk; or
            how many times coarser than the base each is. None makes all except the one of half the
            resolution.
        chunk: Edge of a chunk in voxels, even; None takes that of the profile: 64, or 32 for
            ``training`` and 128 for ``compact``.
        codec: Profile: ``default``, ``compact``, ``fast``, ``training``, ``raw`` or ``labels``;
            None takes ``labels`` for label maps and ``default`` for other images.
        overwrite: Whether an existing archive may be replaced.
        staging: Folder, on the file system of the destination, in which the archive is built in a
            hidden folder; None takes the folder of the destination.
    """

    levels: Levels = None
    chunk: int | None = None
    codec: str | None = None
    overwrite: bool = False
    staging: str | None = None

    def __post_init__(self) -> None:
        checked(self.levels)
        if self.codec is not None:
            profile(self.codec)

    @property
    def chunk_edge(self) -> int:
        """Edge of a chunk in voxels."""
        if self.chunk is not None:
            return self.chunk
        return profile(self.codec).chunk if self.codec else DEFAULT_CHUNK


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
    """The result of a conversion.

    Attributes:
        path: The archive.
        source_bytes: Bytes of the voxels as they were read.
        archive_bytes: Bytes of the archive.
        seconds: Wall time.
        levels: Pyramid levels.
        manifest: The manifest that was put into a bucket, and the stamp of its object; None on a
            disk, and if the answer to the put was lost.
        files: How many files the archive has besides.
    """

    path: str
    source_bytes: int
    archive_bytes: int
    seconds: float
    levels: int
    manifest: tuple[bytes, Stamp] | None = field(default=None, repr=False)
    files: int = 0
