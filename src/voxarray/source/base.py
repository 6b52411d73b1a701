"""The contract between a file format and everything above it."""

from __future__ import annotations

import math
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import OutOfRangeError
from voxarray.core.history import History
from voxarray.core.promotion import cast
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4

NO_METADATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Channels:
    """What the C axis of an image counts.

    Examples:
        >>> vx.source.Channels("time", step=2.0).kind
        'time'

    Attributes:
        kind: ``"time"`` for the volumes of a series, else ``"channel"``.
        step: Seconds between volumes; 0 if unknown or not time.
    """

    kind: Literal["channel", "time"] = "channel"
    step: float = 0.0

    @classmethod
    def stated(cls, attributes: Mapping[str, Any], present: int) -> Channels:
        """What the attributes of a DataArray of ours say, or of an array that it was saved to.

        Attributes stay as they are when volumes are chosen, every second one for instance. So the
        time between two of them is unknown once there are others than they were written for.

        Args:
            attributes: By name; without them, C counts channels.
            present: Number of volumes.
        """
        if attributes.get("channel_kind") != "time":
            return cls()
        is_whole = attributes.get("channel_count", present) == present
        try:
            step = float(attributes.get("channel_step", 0.0))
        except (TypeError, ValueError):
            step = 0.0
        return cls("time", step if is_whole and math.isfinite(step) and step > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class OriginalHeader:
    """The NIfTI header of the file that voxels come from, whatever was done to them since.

    Attributes:
        raw: Its bytes, without text.
        same_values: Whether the intensities are still those that it describes.
        same_space: Whether the anatomy is still where it was in the header's space.
        moved_axes: Axes W, H, D (0, 1, 2) along which voxels were moved while the grid stayed, so
            that the grid cannot tell.
    """

    raw: bytes
    same_values: bool = True
    same_space: bool = True
    moved_axes: tuple[int, ...] = ()


class Source(ABC):
    """One image that can be read.

    Implementations are frozen dataclasses: immutable, picklable, safe to share between threads
    and to carry over a fork. They open files for a read and close them again, or cache handles
    per process.

    Examples:
        >>> scan = vx.testing.sample()
        >>> source = scan.source
        >>> isinstance(source, vx.source.Source), source.shape
        (True, (1, 64, 56, 48))
        >>> corner = vx.source.Selection.box((0, 1), (0, 2), (0, 3), (0, 4))
        >>> source.read(corner).shape
        (1, 2, 3, 4)

    Attributes:
        shape: (C, W, H, D).
        dtype: Type of the voxels that `read` returns, in native byte order.
        affine: (4, 4) matrix from voxel indices to voxel centres in RAS+ mm; read-only.
        chunks: Preferred block (C, W, H, D) to read at once: a slab, a chunk or a shard.
        channels: What C counts.
        scaling: Slope and intercept that `read` applies; None if voxels are as stored.
        path: File or directory; None for data in memory.
        nifti_header: Bytes of a NIfTI-1 or -2 header that describe the whole source, or None.
        metadata: Metadata for ``image[...]``, without identifying fields.
        lazy: Whether voxels are computed each time they are read.
        levels: Number of pyramid levels, the source itself included.
        history: Operations that made the voxels, oldest first.
        inputs: Sources that these voxels are computed from; empty if they are stored.
        slow_axes: W, H and D as 0, 1, 2, ordered by the distance of neighbouring voxels on disk,
            the largest first.
        in_memory: Whether the voxels are in RAM already, where the user may change them.
    """

    # A contract of properties: frozen dataclasses and read-only properties both fulfil it. At run
    # time they are plain defaults: `dataclass` would take an inherited property for one.
    if TYPE_CHECKING:

        @property
        def shape(self) -> Shape4: ...

        @property
        def dtype(self) -> np.dtype: ...

        @property
        def affine(self) -> NDArray[np.float64]: ...

        @property
        def chunks(self) -> Shape4: ...

        @property
        def channels(self) -> Channels: ...

        @property
        def scaling(self) -> Scaling | None: ...

        @property
        def path(self) -> str | None: ...

        @property
        def nifti_header(self) -> bytes | None: ...

        @property
        def metadata(self) -> Mapping[str, Any]: ...

        @property
        def lazy(self) -> bool: ...

        @property
        def levels(self) -> int: ...

        @property
        def history(self) -> History: ...

        @property
        def inputs(self) -> tuple[Source, ...]: ...

        @property
        def slow_axes(self) -> tuple[int, int, int]: ...

        @property
        def in_memory(self) -> bool: ...

    else:
        channels = Channels()
        scaling = None
        path = None
        nifti_header = None
        metadata = NO_METADATA
        lazy = False
        levels = 1
        history = ()
        inputs = ()
        slow_axes = (2, 1, 0)
        in_memory = False

    @property
    def series_uid(self) -> str:
        """Series Instance UID of DICOM files; empty for all else.

        It may lead to the patient: show and store a digest of it.
        """
        return ""

    @property
    def label_table(self) -> tuple[Any, ...]:
        """Names and colours of its labels, by default those of its first input; () if none."""
        return self.inputs[0].label_table if self.inputs else ()

    @property
    def original_header(self) -> OriginalHeader | None:
        """The original NIfTI header; what is saved keeps its fields that are still valid.

        None if there is none.
        """
        header = self.nifti_header
        return None if header is None else OriginalHeader(header)

    @property
    def header_of_space(self) -> OriginalHeader | None:
        """The original NIfTI header for other voxels at the same place, such as labels."""
        origin = self.original_header
        return None if origin is None else replace(origin, same_values=False)

    @abstractmethod
    def read(self, selection: Selection) -> NDArray:
        """Voxels of the selection, shape ``selection.shape``.

        The memory order is the file's own: usually a (C, W, H, D) view of (C, D, H, W) memory.
        The array may be a read-only view of a cache.
        """

    def read_into(self, selection: Selection, out: NDArray) -> None:
        """Read voxels into memory of the caller, if possible without another copy.

        Args:
            selection: Which voxels.
            out: Array to fill, (C, W, H, D) of the selection's shape. It has the source's dtype, or
                a type that `voxarray.core.promotion.cast` can convert voxels to. Reading is fastest
                if it has the source's memory order.
        """
        cast(self.read(selection), out)

    @abstractmethod
    def token(self) -> str:
        """Text that identifies the voxels and the affine.

        It is the same in every process. If two tokens are equal, so are the voxels and the affine.
        """

    def unscaled(self) -> Source:
        """The same voxels as they are stored, without slope and intercept."""
        if self.scaling is None:
            return self
        raise NotImplementedError(f"{type(self).__name__} has a scaling and must override this")

    def level(self, number: int) -> Source:
        """Level ``number`` of the pyramid; 0 is this source itself.

        Raises:
            OutOfRangeError: If there is no such level.
        """
        if number == 0:
            return self
        raise OutOfRangeError(
            f"there is no level {number}: {self.path or 'data in memory'} has no pyramid, only "
            "level 0; convert it to an archive to get one",
            code="NO_LEVEL",
            path=self.path,
        )

    @property
    def reading_bytes(self) -> int:
        """Bytes of memory that reading a part needs besides its result, caches included."""
        return 0 if self.in_memory else math.prod(self.chunks) * self.dtype.itemsize

    @property
    def decoding_bytes(self) -> int:
        """Bytes of memory that reading a piece of a block needs besides its result."""
        return self.reading_bytes

    @property
    def streaming_bytes(self) -> int:
        """Bytes of memory that `stream` needs besides the arrays that it fills."""
        return self.reading_bytes

    def stream(self) -> VoxelStream:
        """A reader of all voxels in disk order, each once."""
        return SequentialReads(self)

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid(self.shape[1:], self.affine)

    @property
    def bytes_on_disk(self) -> int | None:
        """Size of the file or archive; None for data in memory."""
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return None
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        size = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(FileNotFoundError):  # of a label map that is being removed
                    size += os.stat(os.path.join(folder, name)).st_size
        return size


class VoxelStream(ABC):
    """All voxels of a source in disk order (C, D, H, W: x runs fastest), handed out once.

    Used by one thread at a time; a context manager.

    Examples:
        >>> import numpy as np
        >>> source = vx.testing.sample().source
        >>> plane = np.empty((1, 1, 56, 64), source.dtype)  # (c, d, h, w)
        >>> with source.stream() as stream:
        ...     stream.read_into(plane)  # the first one; the next call reads the next
        >>> bool((plane[0, 0].T == vx.testing.sample().numpy()[0, :, :, 0]).all())
        True
    """

    @abstractmethod
    def read_into(self, out: NDArray) -> None:
        """Fill ``out``, C-contiguous (c, d, h, w) in the source's dtype, with the next voxels.

        ``out`` must be a contiguous part of the image: whole volumes (d, h and w are D, H and W),
        planes of one volume, rows of one plane, or voxels of one row.
        """

    def take(self, shape: Shape4) -> NDArray | None:  # noqa: ARG002  # for those that can
        """The next voxels (c, d, h, w), without a copy, if they are in memory; else None.

        The array belongs to the stream, and is valid as long as the stream is open.
        """
        return None

    @abstractmethod
    def finish(self) -> None:
        """Check CRC and length at the end of the file, after the last voxel."""

    def start_digest(self) -> None:  # noqa: B027  # optional: not every source is one file
        """Compute `source_digest` during reading; call it before the first read."""

    def source_digest(self) -> str | None:
        """sha256 (hex) of all bytes of the file, once finished.

        None if there is no file, or `start_digest` was not called.
        """
        return None

    def close(self) -> None:  # noqa: B027  # optional: most streams hold nothing open
        """Release files."""

    def __enter__(self) -> VoxelStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(slots=True)
class SequentialReads(VoxelStream):
    """A stream over any source with random access: one `Source.read_into` per slab."""

    source: Source
    done: int = field(default=0, init=False)

    def read_into(self, out: NDArray) -> None:
        c, w, h, d = self.source.shape
        starts = (int(n) for n in np.unravel_index(self.done, (c, d, h, w)))
        channels, z, y, x = (
            range(start, start + size) for start, size in zip(starts, out.shape, strict=True)
        )
        self.source.read_into(Selection((channels, x, y, z)), out.transpose(0, 3, 2, 1))
        self.done += out.size

    def finish(self) -> None:
        pass


def digest(*parts: object) -> str:
    """Short stable text for a token made of plain values and affines."""
    import hashlib  # loads OpenSSL (3 ms), and a header needs no token

    texts = [p.tobytes().hex() if isinstance(p, np.ndarray) else repr(p) for p in parts]
    return hashlib.blake2b("\x00".join(texts).encode(), digest_size=16).hexdigest()
