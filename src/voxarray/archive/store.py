"""The files of an archive, in a directory or in one uncompressed zip: where their bytes lie."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from voxarray.errors import (
    ArchiveError,
    FormatError,
    MissingDataError,
    MissingFileError,
    SourceChangedError,
)
from voxarray.sources.base import FileIdentity

# A link inside an archive could name any file of this machine, and opening a pipe would wait.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_LOCAL_HEADER = 30
_LOCAL_LENGTHS = struct.Struct("<HH")  # name and extra field, at offset 26 (APPNOTE 4.3.7)


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of one key in an open file. The caller closes ``fd``."""

    fd: int
    start: int
    size: int


class Store(ABC):
    """Read-only access to the files of one archive; frozen, picklable, nothing kept open."""

    path: str

    @abstractmethod
    def open(self, key: str) -> Blob:
        """Descriptor, offset and size of a key.

        Raises:
            MissingDataError: If the archive has no such file.
        """

    @abstractmethod
    def keys(self) -> list[str]:
        """All files, sorted, with ``/`` between folders."""

    @abstractmethod
    def __contains__(self, key: str) -> bool:
        """Whether there is such a file."""

    def read(self, key: str) -> bytes:
        """All bytes of a key."""
        blob = self.open(key)
        try:
            return os.pread(blob.fd, blob.size, blob.start)
        finally:
            os.close(blob.fd)

    def _missing(self, key: str) -> MissingDataError:
        return MissingDataError(
            f"the archive {self.path} lacks its file {key}: it is damaged or was not copied whole, "
            "restore it or convert the source again",
            path=self.path,
        )


@dataclass(frozen=True, slots=True)
class TreeStore(Store):
    """An archive as a directory.

    Attributes:
        path: Absolute path of the directory.
    """

    path: str

    def open(self, key: str) -> Blob:
        try:
            fd = os.open(f"{self.path}/{key}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        except OSError as error:
            raise self._unreadable(key, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise self._missing(key)
        return Blob(fd, 0, status.st_size)

    def _unreadable(self, key: str, error: OSError) -> ArchiveError:
        if error.errno == errno.ELOOP:
            return ArchiveError(
                f"{key} of {self.path} is a link, and an archive holds only files of its own",
                code="SYMLINK",
                path=self.path,
            )
        return ArchiveError(
            f"{key} of {self.path} cannot be read ({error})", code="IO_ERROR", path=self.path
        )

    def __contains__(self, key: str) -> bool:
        return os.path.isfile(f"{self.path}/{key}")

    def keys(self) -> list[str]:
        root = Path(self.path)
        return sorted(
            file.relative_to(root).as_posix()
            for file in root.rglob("*")
            if file.is_symlink() or not file.is_dir()
        )


@dataclass(frozen=True, slots=True)
class ZipStore(Store):
    """An archive as one ``.ozx`` file (OME-NGFF RFC-9): a zip whose members are not compressed.

    Attributes:
        identity: The zip file, as it was when it was opened.
    """

    identity: FileIdentity

    @property
    def path(self) -> str:  # type: ignore[override]
        return self.identity.path

    def open(self, key: str) -> Blob:
        spans = _zip_spans(self.identity)
        if key not in spans:
            raise self._missing(key)
        return Blob(self.identity.open(), *spans[key])

    def __contains__(self, key: str) -> bool:
        return key in _zip_spans(self.identity)

    def keys(self) -> list[str]:
        return sorted(_zip_spans(self.identity))


def open_store(path: str | os.PathLike[str]) -> Store:
    """The store at a path: a directory, or a zip file.

    Raises:
        MissingFileError: If there is nothing.
    """
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute):
        return TreeStore(absolute)
    if not os.path.exists(absolute):
        raise MissingFileError(f"there is no archive {absolute}", path=absolute)
    return ZipStore(FileIdentity.of(absolute))


@lru_cache(maxsize=64)
def _zip_spans(identity: FileIdentity) -> Mapping[str, tuple[int, int]]:
    """Offset and size of every member; cached per process, the directory can be large."""
    try:
        with zipfile.ZipFile(identity.path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        if not os.path.exists(identity.path):
            raise SourceChangedError(
                f"{identity.path} was deleted after it was opened", path=identity.path
            ) from None
        raise FormatError(
            f"{identity.path} is not a readable zip file ({error})",
            code="BAD_ZIP",
            path=identity.path,
        ) from error
    fd = identity.open()
    try:
        return MappingProxyType({m.filename: _span(fd, m, identity.path) for m in members})
    finally:
        os.close(fd)


def _span(fd: int, member: zipfile.ZipInfo, path: str) -> tuple[int, int]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise FormatError(
            f"{path} compresses {member.filename}, and an .ozx stores its files as they are: "
            "unzip it and open the folder",
            code="BAD_ZIP",
            path=path,
        )
    header = os.pread(fd, _LOCAL_HEADER, member.header_offset)
    if len(header) != _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise FormatError(f"{path} is damaged before {member.filename}", code="BAD_ZIP", path=path)
    name, extra = _LOCAL_LENGTHS.unpack_from(header, 26)
    start = member.header_offset + _LOCAL_HEADER + name + extra
    if start + member.file_size > os.fstat(fd).st_size:
        raise FormatError(f"{path} ends inside {member.filename}", code="BAD_ZIP", path=path)
    return start, member.file_size
