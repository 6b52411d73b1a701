"""The files of an archive in one uncompressed zip."""

from __future__ import annotations

import errno
import io
import os
import struct
import zipfile
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from voxarray.core.errors import FormatError, VoxarrayError
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.store import Blob, FileBlob, Store

_LOCAL_HEADER = 30
_LOCAL_LENGTHS = struct.Struct("<HH")  # name and extra field, at offset 26 (APPNOTE 4.3.7)


@dataclass(frozen=True, slots=True)
class ZipStore(Store):
    """An archive as one ``.ozx`` file (OME-NGFF RFC-9): a zip whose members are not compressed.

    Attributes:
        file: The zip file, as it was when it was opened.
    """

    file: FileIdentity

    @property
    def path(self) -> str:
        return self.file.path

    def whole(self) -> Blob:
        """The zip itself.

        Whether a new time of its status is one of its content, who reads its manifest can tell.

        Raises:
            SourceChangedError: If it is not the one that was opened.
        """
        return FileBlob(self.file.without_status().open(), 0, self.file.size)

    def open(self, key: str) -> Blob:
        members = _members(self)
        if key not in members:
            raise self._missing(key)
        blob = self.whole()
        try:
            return blob.part(*_span(blob, members[key], self.path))
        except BaseException:
            blob.close()
            raise

    def __contains__(self, key: str) -> bool:
        return key in _members(self)

    def keys(self) -> list[str]:
        return sorted(_members(self))

    def sizes(self) -> dict[str, int]:
        return {key: member.file_size for key, member in _members(self).items()}

    def folders(self, key: str) -> list[str]:
        start = f"{key}/" if key else ""
        below = (name[len(start) :].split("/") for name in _members(self) if name.startswith(start))
        return sorted({names[0] for names in below if len(names) > 1})

    def file_of(self, key: str) -> str:  # noqa: ARG002  # the zip itself
        return self.path

    def identity(self, key: str) -> Hashable:  # noqa: ARG002  # a file of a zip cannot change alone
        return self.file


@lru_cache(maxsize=64)
def _members(store: ZipStore) -> Mapping[str, zipfile.ZipInfo]:
    """Every member by name; cached per process, the directory of a zip can be large."""
    with store.whole() as blob:
        try:
            with zipfile.ZipFile(io.BufferedReader(BlobFile(blob), 1 << 16)) as archive:
                members = archive.infolist()
        except VoxarrayError:  # of the blob: some are OSErrors, too
            raise
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
            raise FormatError(
                f"{store.path} is not a readable zip file ({error}): copy or download it again",
                code="BAD_ZIP",
                path=store.path,
            ) from error
    for member in members:
        _require_stored(member, store.path)
    return MappingProxyType({member.filename: member for member in members})


def _require_stored(member: zipfile.ZipInfo, path: str) -> None:
    if member.compress_type != zipfile.ZIP_STORED:
        raise FormatError(
            f"{path} compresses {member.filename}, but the files in an .ozx must not be "
            "compressed: unzip it and open the folder",
            code="BAD_ZIP",
            path=path,
        )


def _span(blob: Blob, member: zipfile.ZipInfo, path: str) -> tuple[int, int]:
    """Offset and size of a member, whose own header may be longer than the directory says."""
    offset = member.header_offset
    is_inside = 0 <= offset <= blob.size  # what a directory that lies makes of it may be neither
    header = blob.read(offset, _LOCAL_HEADER) if is_inside else b""
    if len(header) != _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise FormatError(
            f"{path} is damaged in the bytes just in front of its file {member.filename}: copy or "
            "download it again",
            code="BAD_ZIP",
            path=path,
        )
    name, extra = _LOCAL_LENGTHS.unpack_from(header, 26)
    start = offset + _LOCAL_HEADER + name + extra
    if start + member.file_size > blob.size:
        raise FormatError(
            f"{path} ends inside its file {member.filename}: it was not copied whole, copy or "
            "download it again",
            code="BAD_ZIP",
            path=path,
        )
    return start, member.file_size


class BlobFile(io.RawIOBase):
    """A blob as a file object; the blob stays open.

    Args:
        blob: What is read.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "seek before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, view: Any) -> int:  # mypy has no word for a writable buffer before 3.12
        remaining = max(0, self._blob.size - self._position)
        data = self._blob.read(self._position, min(len(view), remaining)) if remaining else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
