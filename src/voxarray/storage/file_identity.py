"""What makes a file the one that was opened: size, times and inode."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from voxarray.core import descriptors
from voxarray.core.errors import MissingFileError, SourceChangedError, blaming


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What makes a file the one that was opened: a changed file must never mix with an old header.

    Attributes:
        path: Absolute path.
        size: Bytes.
        mtime_ns: Time of the last change, in ns.
        inode: Number on its file system, which changes when the file is replaced.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str | os.PathLike[str], fd: int | None = None) -> FileIdentity:
        """Identity of the file at ``path``, or of its open descriptor."""
        absolute = os.path.abspath(path)
        try:
            status = os.stat(absolute if fd is None else fd)
        except FileNotFoundError:
            raise MissingFileError(f"there is no file {absolute}", path=absolute) from None
        return cls(absolute, status.st_size, status.st_mtime_ns, status.st_ino)

    def open(self) -> int:
        """Descriptor for reading; the caller closes it.

        Raises:
            SourceChangedError: If the file is not the one that was opened, or is gone.
        """
        try:
            fd = descriptors.open_file(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise SourceChangedError(
                f"{self.path} was deleted after it was opened", path=self.path
            ) from None
        try:
            self.check(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def blamed(self) -> AbstractContextManager[None]:
        """Errors of ours that are raised inside name this file."""
        return blaming(self.path)

    def check(self, fd: int) -> None:
        """Raise `SourceChangedError` unless the descriptor is of the file that was opened."""
        now = FileIdentity.of(self.path, fd)
        if now != self:
            raise SourceChangedError(
                f"{self.path} changed after it was opened (was {self.size} bytes, inode "
                f"{self.inode}, modified {self.mtime_ns} ns; is {now.size} bytes, inode "
                f"{now.inode}, modified {now.mtime_ns} ns): open it again",
                path=self.path,
            )
