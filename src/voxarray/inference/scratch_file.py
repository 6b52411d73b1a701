"""A nameless file on the disk for what does not fit into the budget for a while."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field

from numpy.typing import NDArray

from voxarray.core import disk, settings
from voxarray.core.errors import ArchiveError
from voxarray.core.memory import format_bytes
from voxarray.storage.raw_voxels import as_bytes


def folder() -> str:
    """Where scratch files lie: setting ``download-directory``, by default the system's folder."""
    return str(settings.get("download-directory") or tempfile.gettempdir())


def require_room(needed: int, what: str) -> None:
    """Refuse an operation that would fill the disk, before it starts.

    Raises:
        ArchiveError: ``NO_SPACE``.
    """
    free = shutil.disk_usage(folder()).free
    if needed > free:
        raise ArchiveError(
            f"{what} needs {format_bytes(needed)} of disk for a scratch file, but {folder()} has "
            f"{format_bytes(free)}: raise the memory budget, or choose a folder on a larger disk "
            "(setting voxarray.download-directory)",
            code="NO_SPACE",
            path=folder(),
        )


@dataclass(slots=True)
class Slots:
    """Places in a file that are used again.

    Attributes:
        size: Bytes that the file has grown to.
    """

    size: int = 0
    _free: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def take(self, size: int) -> int:
        """Offset of a place for so many bytes."""
        free = self._free[size]
        if free:
            return free.pop()
        self.size += size
        return self.size - size

    def give_back(self, offset: int, size: int) -> None:
        """A place is not needed any more."""
        self._free[size].append(offset)


class ScratchFile:
    """Arrays on the disk, gone with this object.

    Raises:
        ArchiveError: The disk is full (``NO_SPACE``) or broken (``IO_ERROR``).
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(  # noqa: SIM115  # closed by `close`
            dir=settings.get("download-directory")
        )

    def write(self, offset: int, array: NDArray) -> None:
        """Put a C-contiguous array at an offset."""
        rest = as_bytes(array)
        try:
            while rest:
                count = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[count:], offset + count
        except OSError as error:
            raise disk.refusal(error, folder()) from error

    def read_into(self, offset: int, array: NDArray) -> None:
        """Fill a C-contiguous array from an offset."""
        rest = as_bytes(array)
        try:
            while rest:
                count = os.preadv(self._file.fileno(), [rest], offset)
                if not count:
                    raise OSError("the scratch file ended early")
                rest, offset = rest[count:], offset + count
        except OSError as error:
            raise disk.refusal(error, folder()) from error

    def close(self) -> None:
        """Give the room on the disk back."""
        self._file.close()
