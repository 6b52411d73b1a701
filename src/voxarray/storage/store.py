"""The files of an archive: what a store of them can do, and the one that is a directory."""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.core import descriptors, portable
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import (
    ArchiveError,
    FormatError,
    MissingDataError,
    UnsupportedError,
    VoxarrayError,
    is_absence,
    of_system,
)
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.mapped_shard import MappedShard

if TYPE_CHECKING:
    from voxarray.storage.remote.arrivals import Arrivals, Part

# A link inside an archive could name any file of this machine, and opening a pipe would wait.
_READ = os.O_RDONLY | portable.CLOEXEC | portable.NOFOLLOW | portable.NONBLOCK


SMALL = 1 << 30
"""Bytes of the largest file that is read as a whole, unless another limit is given."""


LINK = -1
"""Stands for the size of what is a link."""


class Blob(ABC):
    """Bytes of one key, open for reading; whoever opened it closes it.

    Attributes:
        size: Bytes.
    """

    __slots__ = ()

    size: int

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset`` on; fewer than ``length`` where the file ends."""

    def read_into(self, offset: int, out: NDArray[np.uint8]) -> int:
        """Fill ``out`` with bytes from ``offset`` on; says how many there were."""
        data = np.frombuffer(self.read(offset, out.size), np.uint8)
        out[: data.size] = data
        return data.size

    @abstractmethod
    def part(self, start: int, size: int) -> Blob:
        """Some of the bytes, in place of this blob: only one of the two is to be closed."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """What makes the file that is open the one that it is."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def mapped(self) -> MappedShard | None:
        """The bytes as memory; None where they are not a local file."""
        return None

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FileBlob(Blob):
    """Part of an open file.

    Attributes:
        fd: Descriptor of the file.
        start: Offset of the first byte.
    """

    __slots__ = ("fd", "size", "start")

    def __init__(self, fd: int, start: int, size: int) -> None:
        self.fd, self.start, self.size = fd, start, size

    def read(self, offset: int, length: int) -> bytes:
        return portable.pread(self.fd, length, self.start + offset)

    def read_into(self, offset: int, out: NDArray[np.uint8]) -> int:
        return portable.preadv(self.fd, [out.data], self.start + offset)

    def part(self, start: int, size: int) -> FileBlob:
        return FileBlob(self.fd, self.start + start, size)

    @property
    def identity(self) -> tuple[int, int, int]:
        status = os.fstat(self.fd)
        return status.st_size, status.st_mtime_ns, status.st_ino

    def close(self) -> None:
        os.close(self.fd)

    def mapped(self) -> MappedShard:
        return MappedShard(self.fd, self.start, self.size)


class Store(ABC):
    """Read-only access to the files of one archive; frozen, picklable, nothing kept open.

    Attributes:
        path: Directory, file or URL.
        requests: How many chunks to read at once; None where the processor is the limit.
    """

    if TYPE_CHECKING:  # properties as in `voxarray.source.base.Source`, and for the same reason

        @property
        def path(self) -> str: ...

        @property
        def requests(self) -> int | None: ...

    else:
        requests = None

    @abstractmethod
    def open(self, key: str) -> Blob:
        """A key, open for reading.

        Raises:
            MissingDataError: If the archive has no such file.
        """

    @abstractmethod
    def keys(self) -> list[str]:
        """All files, sorted, with ``/`` between folders."""

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by key, without opening them; `LINK` for what is a link.

        Raises:
            UnsupportedError: If the store cannot tell.
        """
        raise UnsupportedError(
            f"{self.path} does not list sizes: copy it to this machine, or to a store that does",
            path=self.path,
        )

    @abstractmethod
    def folders(self, key: str) -> list[str]:
        """Names of the folders in a folder, sorted; the root is the empty text."""

    @abstractmethod
    def __contains__(self, key: str) -> bool:
        """Whether there is such a file."""

    def begins(self, key: str, start: bytes) -> bool:
        """Whether there is such a file, and it begins so."""
        if key not in self:
            return False
        with self.open(key) as blob:
            return blob.read(0, len(start)) == start

    def open_known(self, key: str, size: int) -> Blob | None:  # noqa: ARG002
        """A key of which the size is known, without asking for it; None where asking is cheap.

        Another size, or none, is an error of the first read.
        """
        return None

    def arrivals(self, parts: Sequence[tuple[Blob, int, int]]) -> Arrivals | None:  # noqa: ARG002
        """Parts of blobs (offset, length), asked for side by side; None where that is no use."""
        return None

    def remote_parts(self, parts: Sequence[tuple[Blob, int, int]]) -> list[Part] | None:  # noqa: ARG002
        """Parts of blobs (offset, length), as they can be asked for; None as for `arrivals`."""
        return None

    @abstractmethod
    def identity(self, key: str) -> Hashable:
        """What makes a file the one that it is now, in any process."""

    def file_of(self, key: str) -> str:
        """Path of the file in which the bytes of a key lie."""
        return f"{self.path}/{key}"

    def changed_since(self, key: str, opened: int) -> bool:  # noqa: ARG002
        """Whether a file was changed or deleted after a time (ns), where that can be told."""
        return False

    def is_same(self, first: Hashable, second: Hashable) -> bool:
        """Whether two identities, either of which may be None, can be those of one file."""
        return first == second

    def read(self, key: str, limit: int = SMALL) -> bytes:
        """All bytes of a key.

        Raises:
            MissingDataError: If the archive has no such file.
            FormatError: If it has more than ``limit`` bytes (``BOMB``).
        """
        with self.open(key) as blob:
            return self._whole(key, blob, limit)

    def fetch(self, key: str, limit: int = SMALL) -> tuple[bytes, Hashable]:
        """As `read`, with the identity of the file that the bytes are of."""
        with self.open(key) as blob:
            return self._whole(key, blob, limit), blob.identity

    def _whole(self, key: str, blob: Blob, limit: int) -> bytes:
        if blob.size > limit:
            raise FormatError(
                f"{key} of {self.path} has {blob.size} bytes, but at most {limit} are "
                "expected: it is damaged, or is not the file that its name says; copy it again",
                code="BOMB",
                path=self.path,
            )
        return blob.read(0, blob.size)

    def _missing(self, key: str) -> MissingDataError:
        return MissingDataError(
            f"the archive {self.path} lacks its file {key}: it is damaged or was not copied whole, "
            f"restore it, or {MAKE_AGAIN}",
            path=self.path,
        )


@dataclass(frozen=True, slots=True)
class TreeStore(Store):
    """An archive as a directory.

    Attributes:
        path: Absolute path of the directory.
    """

    path: str

    def open(self, key: str) -> FileBlob:
        try:
            self._require_own_folders(key)
            fd = descriptors.open_file(f"{self.path}/{key}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        except OSError as error:
            raise self._unreadable(key, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise self._missing(key)
        return FileBlob(fd, 0, status.st_size)

    def _require_own_folders(self, key: str) -> None:
        """Raise ``ELOOP`` for a folder that is a link, as opening does for a file that is one."""
        end = key.find("/")
        while end >= 0:
            folder = f"{self.path}/{key[:end]}"
            if stat.S_ISLNK(os.lstat(folder).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), folder)
            end = key.find("/", end + 1)

    def _unreadable(self, key: str, error: OSError) -> VoxarrayError:
        if isinstance(error, PermissionError):
            return of_system(error, f"{self.path}/{key}")
        if error.errno == errno.ELOOP:
            link = os.path.relpath(error.filename, self.path)
            return ArchiveError(
                f"{link} of {self.path} is a link, and an archive holds only files of its own: "
                "put a copy of the file in its place",
                code="SYMLINK",
                path=self.path,
            )
        return ArchiveError(
            f"{key} of {self.path} cannot be read ({error}): check the disk and the permissions, "
            "or try again",
            code="IO_ERROR",
            path=self.path,
        )

    def __contains__(self, key: str) -> bool:
        try:
            return stat.S_ISREG(os.stat(f"{self.path}/{key}").st_mode)
        except OSError as error:
            if is_absence(error):
                return False
            raise self._unreadable(key, error) from error  # who knows what is there

    def keys(self) -> list[str]:
        return sorted(self.sizes())

    def sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(f"{self.path}/{folder}") as entries:
                    for entry in entries:
                        key = f"{folder}{entry.name}"
                        if entry.is_symlink():
                            sizes[key] = LINK
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(f"{key}/")
                        else:
                            with suppress(FileNotFoundError):
                                sizes[key] = entry.stat(follow_symlinks=False).st_size
            except (FileNotFoundError, NotADirectoryError):
                continue  # a label map that another process removes right now
            except OSError as error:
                raise self._unreadable(folder or "the folder", error) from error
        return sizes

    def folders(self, key: str) -> list[str]:
        with os.scandir(os.path.join(self.path, key)) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))

    def identity(self, key: str) -> FileIdentity:
        return FileIdentity.of(f"{self.path}/{key}").without_status()

    def changed_since(self, key: str, opened: int) -> bool:
        # Of what is gone, the folder that it was in tells when something in it was made or deleted.
        # Both times: one may be set to any, the other changes with rights and links.
        while True:
            try:
                status = os.lstat(f"{self.path}/{key}")
            except (FileNotFoundError, NotADirectoryError):
                if not key:
                    return True
                key = key.rpartition("/")[0]
            else:
                return min(status.st_mtime_ns, status.st_ctime_ns) > opened
