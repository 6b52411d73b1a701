"""One remote file, as it was when it was opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from voxarray.core.error_messages import errors_name
from voxarray.core.errors import MissingFileError, SourceChangedError
from voxarray.storage.remote.objects import ObjectIdentity, Objects, Stamp
from voxarray.storage.remote.transport import usable


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object that is read in parts; the like of `FileIdentity`.

    Attributes:
        objects: Where it is.
        key: Its name there.
        stamp: Size and version; another one at the next read is an error.
    """

    objects: Objects
    key: str
    stamp: Stamp

    @classmethod
    def of(cls, objects: Objects, key: str) -> RemoteFile:
        """The object of a name.

        Raises:
            MissingFileError, AccessDeniedError, TransportError: As `Objects.stat`.
        """
        return cls(objects, key, usable(objects).stat(key))

    @property
    def path(self) -> str:
        """URL without secrets."""
        return self.objects.where(self.key)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size

    @property
    def identity(self) -> ObjectIdentity:
        """What makes it the one that it is, in any process."""
        return ObjectIdentity(f"{self.objects.unique}/{self.key}", self.stamp)

    def read(self, start: int, length: int) -> bytes:
        """Bytes from ``start`` on; fewer where the file ends.

        Raises:
            SourceChangedError: It is not the file that was opened, or is gone.
            AccessDeniedError, TransportError: As `Objects.read`.
        """
        count = min(length, self.size - start)
        if count <= 0:
            return b""
        try:
            return usable(self.objects).read(self.key, start, count, self.stamp)
        except MissingFileError:
            raise SourceChangedError(
                f"{self.path} was deleted after it was opened: restore it, or open another file",
                path=self.path,
            ) from None

    def check(self) -> None:
        """Raise `SourceChangedError` unless it is still the file that was opened."""
        current = usable(self.objects).stat(self.key)
        self.objects.require_same(self.key, self.stamp, current)

    def named_in_errors(self) -> AbstractContextManager[None]:
        """Errors of ours that are raised inside name this file."""
        return errors_name(self.path)
