"""The files of an archive behind a URL: read in ranges, as strictly as local ones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from voxarray.archive.metadata import NODE_DOCUMENTS
from voxarray.core import settings
from voxarray.core.errors import (
    AccessDeniedError,
    FormatError,
    MissingDataError,
    MissingFileError,
)
from voxarray.storage.remote.address import WEB
from voxarray.storage.remote.arrivals import Arrivals, Part
from voxarray.storage.remote.file import RemoteFile
from voxarray.storage.remote.objects import ObjectIdentity, Objects, Stamp
from voxarray.storage.remote.obstore_objects import RUNTIME, ObstoreObjects
from voxarray.storage.remote.transport import usable
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.store import SMALL, Blob, Store
from voxarray.storage.zip_store import ZipStore

_LARGEST_MANIFEST = 16 << 20
"""Bytes of a manifest that is fetched at once, to be parsed next."""


class RemoteBlob(Blob):
    """Part of a remote file; nothing is open.

    Attributes:
        file: The file, with its version: a range of another version is an error.
        start: Offset of the first byte.
    """

    __slots__ = ("file", "size", "start")

    def __init__(self, file: RemoteFile, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size

    def read(self, offset: int, length: int) -> bytes:
        return self.file.read(self.start + offset, length)

    def part(self, start: int, size: int) -> RemoteBlob:
        return RemoteBlob(self.file, self.start + start, size)

    @property
    def identity(self) -> ObjectIdentity:
        return self.file.identity

    def close(self) -> None:
        pass


class _UnaskedBlob(RemoteBlob):
    """A remote file of known size: its first read tells its version, which later reads require."""

    __slots__ = ()

    def read(self, offset: int, length: int) -> bytes:
        if self.file.stamp.version:
            return RemoteBlob.read(self, offset, length)
        file = self.file
        objects = usable(file.objects)
        data, stamp = objects.read_stamped(file.key, self.start + offset, length)
        objects.require_same(file.key, file.stamp, stamp)
        self.file = RemoteFile(file.objects, file.key, stamp)
        return data


def _remote(parts: Sequence[tuple[Blob, int, int]]) -> list[Part] | None:
    remote_parts: list[Part] = []
    for blob, offset, length in parts:
        if not isinstance(blob, RemoteBlob) or RUNTIME.lost:
            return None
        file = blob.file
        if not isinstance(file.objects, ObstoreObjects):
            return None
        remote_parts.append((file.objects, file.key, blob.start + offset, length, file.stamp))
    return remote_parts


def _arrivals(parts: Sequence[tuple[Blob, int, int]], at_once: int) -> Arrivals | None:
    remote_parts = _remote(parts)
    return None if remote_parts is None else Arrivals(remote_parts, at_once)


@dataclass(frozen=True, slots=True)
class RemoteTree(Store):
    """An archive as objects below one prefix.

    Attributes:
        objects: The objects below that prefix.
    """

    objects: Objects

    @property
    def path(self) -> str:
        return self.objects.shown

    @property
    def requests(self) -> int:
        return max(1, int(settings.get("remote-requests")))

    def open(self, key: str) -> RemoteBlob:
        try:
            file = RemoteFile.of(self.objects, key)
        except MissingFileError:
            raise self._missing(key) from None
        return RemoteBlob(file, 0, file.size)

    def open_known(self, key: str, size: int) -> RemoteBlob:
        return _UnaskedBlob(RemoteFile(self.objects, key, Stamp(size)), 0, size)

    def begins(self, key: str, start: bytes) -> bool:
        try:
            return self.fetch(key, _LARGEST_MANIFEST)[0].startswith(start)
        except MissingDataError:
            return False
        except FormatError:  # too large to be fetched for its first bytes
            return Store.begins(self, key, start)
        except AccessDeniedError:
            if not self._is_readable():
                raise
            return False

    def read(self, key: str, limit: int = SMALL) -> bytes:
        # By one request, and from a server that gives whole files only; to open asks twice.
        return self.fetch(key, limit)[0]

    def fetch(self, key: str, limit: int = SMALL) -> tuple[bytes, ObjectIdentity]:
        objects = usable(self.objects)
        try:
            data, stamp = objects.fetch(key, limit)
        except MissingFileError:
            raise self._missing(key) from None
        return data, RemoteFile(self.objects, key, stamp).identity

    def is_same(self, first: Hashable, second: Hashable) -> bool:
        if isinstance(first, ObjectIdentity) and isinstance(second, ObjectIdentity):
            return first.url == second.url and first.stamp.fits(second.stamp)
        return first == second

    def arrivals(self, parts: Sequence[tuple[Blob, int, int]]) -> Arrivals | None:
        return _arrivals(parts, self.requests)

    def remote_parts(self, parts: Sequence[tuple[Blob, int, int]]) -> list[Part] | None:
        return _remote(parts)

    def __contains__(self, key: str) -> bool:
        try:
            usable(self.objects).stat(key)
        except MissingFileError:
            return False
        except AccessDeniedError:
            # A bucket that anybody may read but nobody may list answers "access denied", not "not
            # found", for an object that does not exist.
            if not self._is_readable():
                raise
            return False
        return True

    def _is_readable(self) -> bool:
        """Whether the documents of the root can be read, so that not all access is denied."""
        objects = usable(self.objects)
        for name in NODE_DOCUMENTS:
            with suppress(AccessDeniedError, MissingFileError):
                objects.stat(name)
                return True
        return False

    def keys(self) -> list[str]:
        return usable(self.objects).keys()

    def sizes(self) -> dict[str, int]:
        objects = usable(self.objects)
        if not isinstance(objects, ObstoreObjects) or objects.address.scheme in WEB:
            return Store.sizes(self)
        return {key: stamp.size for key, stamp in WritableObjects(objects).stamps().items()}

    def folders(self, key: str) -> list[str]:
        return usable(self.objects).folders(key)

    def identity(self, key: str) -> ObjectIdentity:
        return RemoteFile.of(self.objects, key).identity


@dataclass(frozen=True, slots=True)
class RemoteZip(ZipStore):
    """An archive as one ``.ozx`` file behind a URL.

    Attributes:
        file: The zip file, as it was when it was opened.
    """

    file: RemoteFile  # type: ignore[assignment]  # read as a local one, but opened in another way

    @property
    def requests(self) -> int:
        return max(1, int(settings.get("remote-requests")))

    def arrivals(self, parts: Sequence[tuple[Blob, int, int]]) -> Arrivals | None:
        return _arrivals(parts, self.requests)

    def remote_parts(self, parts: Sequence[tuple[Blob, int, int]]) -> list[Part] | None:
        return _remote(parts)

    def whole(self) -> RemoteBlob:
        return RemoteBlob(self.file, 0, self.file.size)

    def identity(self, key: str) -> ObjectIdentity:  # noqa: ARG002  # as for any zip
        return self.file.identity
