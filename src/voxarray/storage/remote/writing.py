"""Writing objects: each appears whole, by one request that says what may be there before it.

There is no upload in parts, which could stay behind half done and would be paid for: an object is
put by one request, with a body that is mapped from its file, so that no size of it takes memory.
Whether it may take the place of another is the store's to decide, in the same step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from voxarray.core.errors import (
    MissingFileError,
    SourceChangedError,
    StateError,
    UnsupportedError,
)
from voxarray.storage.remote.address import OBJECT_STORES, Address
from voxarray.storage.remote.answers import Answer
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.obstore_objects import (
    RUNTIME,
    ObstoreObjects,
    PinnedObjects,
    obstore,
    stamp_of,
)
from voxarray.storage.remote.redaction import without_secrets

LARGEST = 5 << 30
"""Bytes that S3 takes by one request; other stores take as much."""

_SLOWEST = 1 << 20
"""Bytes per second below which a request is given up."""

_TAKEN = ("AlreadyExistsError", "PreconditionError")
"""What obstore raises if there is something else than was said."""

_NOT_KNOWN = ("NotSupportedError", "NotImplementedError")

_DELETED_AT_ONCE = 1000

_PIECE = 8 << 20

Listed = TypeVar("Listed")

Body = Any
"""Bytes, or a memory map."""


@dataclass(frozen=True, slots=True)
class WritableObjects:
    """The objects below a place of an object store, for whoever writes them.

    Attributes:
        objects: The same, for reading.
    """

    objects: ObstoreObjects

    @classmethod
    def at(cls, url: str) -> WritableObjects:
        """The objects below a URL.

        Raises:
            UnsupportedError: Its scheme is that of no object store (``UNSUPPORTED_DESTINATION``),
                or no bucket is named (``BAD_URL``).
        """
        address = Address.parse(url)
        if address.scheme not in OBJECT_STORES or address.tail:
            raise UnsupportedError(
                f"{address.shown} cannot be written to: choose a place on a local file system or "
                "in an object store (s3://, gs://, az://)",
                code="UNSUPPORTED_DESTINATION",
                path=address.shown,
            )
        if not address.base.partition("://")[2]:
            raise UnsupportedError(
                f"{url} names no bucket: write {address.scheme}://BUCKET/NAME",
                code="BAD_URL",
                path=url,
            )
        return cls(ObstoreObjects(address))

    def pinned(self) -> WritableObjects:
        """The same, with the settings of the first request for all that follow."""
        return WritableObjects(PinnedObjects(self.objects.address))

    @property
    def url(self) -> str:
        """Where, for people."""
        return self.objects.shown

    def below(self, key: str) -> WritableObjects:
        """The objects below a folder of this place."""
        return WritableObjects(self.objects.below(key))

    def create(self, key: str, data: Body) -> Stamp | None:
        """Put an object where there is none, and return its stamp; None if there is one.

        An answer that is lost on its way makes the next attempt find what this one has put: whoever
        gets None looks whether it is the same.

        Raises:
            AccessDeniedError, TransportError: As `Objects.stat`.
            UnsupportedError: It is larger than `LARGEST` (``TOO_LARGE``), or the store knows
                no conditions (``NO_CONDITIONS``).
        """
        return self._put(key, data, "create")

    def replace(self, key: str, data: Body, expected: Stamp) -> Stamp | None:
        """Put an object in the place of the one with this stamp, and return its own.

        None if there is another, or none any more.

        Raises:
            AccessDeniedError, TransportError, UnsupportedError: As `create`.
        """
        try:
            meta = self.objects._try(key, lambda: self._head(key))
        except MissingFileError:
            return None
        if stamp_of(meta) != expected:
            return None
        mode = {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}
        return self._put(key, data, mode)

    def put(self, key: str, data: Body) -> Stamp | None:
        """Put an object, whatever is there, and return its stamp.

        Raises:
            AccessDeniedError, TransportError, UnsupportedError: As `create`.
        """
        return self._put(key, data, "overwrite")

    def _put(self, key: str, data: Body, mode: Any) -> Stamp | None:
        size = len(data)
        if size > LARGEST:
            raise UnsupportedError(
                f"{self.objects.where(key)} would have {size} bytes, and object stores take at "
                f"most {LARGEST} by one request: save an archive as a folder (.ome.zarr), whose "
                "objects are smaller",
                code="TOO_LARGE",
                path=self.url,
            )

        def attempt() -> Stamp | None:
            client, path = self._usable().client(_seconds(size)), self.objects._path(key)
            try:
                answer = obstore().put(client, path, data, mode=mode, use_multipart=False)
            except Exception as error:
                if mode != "overwrite":  # else it was not said what is there, and nothing is put
                    if type(error).__name__ in _TAKEN:
                        return None
                    if self._lacks_conditions(error):
                        raise self._without_conditions(error) from None
                raise
            return Stamp(size, str(answer.get("e_tag") or ""))

        try:
            return self.objects._try(key, attempt, "written")
        finally:
            self.objects.forget(key)

    @staticmethod
    def _lacks_conditions(error: Exception) -> bool:
        return type(error).__name__ in _NOT_KNOWN or Answer.of(error).status == "501"

    def _without_conditions(self, error: Exception) -> UnsupportedError:
        return UnsupportedError(
            f"the store of {self.url} cannot refuse to replace an object that another writer has "
            f"just put there (no conditional writes: {without_secrets(error)}), so several writers "
            "could mix their archives there: enable conditional writes "
            "(If-None-Match) in the store or in voxarray.remote-options, or write to a local disk "
            "and copy the result",
            code="NO_CONDITIONS",
            path=self.url,
        )

    def copy(self, key: str, to: str) -> None:
        """Copy an object within the store.

        Raises:
            MissingFileError, AccessDeniedError, TransportError: As `Objects.stat`.
        """

        def attempt() -> None:
            client = self._usable().client(_seconds(LARGEST))
            obstore().copy(client, self.objects._path(key), self.objects._path(to))

        self.objects._try(to, attempt, "written")
        self.objects.forget(to)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, those that are gone included.

        Raises:
            AccessDeniedError, TransportError: As `Objects.stat`.
        """
        every = list(keys)
        for start in range(0, len(every), _DELETED_AT_ONCE):
            some = every[start : start + _DELETED_AT_ONCE]
            self.objects._try(some[0], lambda some=some: self._delete(some), "deleted")  # type: ignore[misc]
            self.objects.forget(*some)

    def _delete(self, keys: Sequence[str]) -> None:
        client = self._usable().client()
        try:
            obstore().delete(client, [self.objects._path(key) for key in keys])
        except FileNotFoundError:  # stores that say so delete one by one
            for key in keys:
                try:
                    obstore().delete(client, [self.objects._path(key)])
                except FileNotFoundError:
                    continue

    def stamps(self) -> dict[str, Stamp]:
        """Size and version of all objects, asked for now.

        Raises:
            AccessDeniedError, TransportError: As `Objects.stat`.
        """
        return self.stamps_within(sys.maxsize) or {}

    def stamps_within(self, count: int) -> dict[str, Stamp] | None:
        """As `stamps`; None if there are more than so many objects.

        Raises:
            AccessDeniedError, TransportError: As `Objects.stat`.
        """
        prefix = self.objects.address.path

        def attempt() -> dict[str, Stamp] | None:
            pages = obstore().list(self._usable().client(), prefix=prefix or None)
            start = len(prefix) + 1 if prefix else 0
            found: dict[str, Stamp] = {}
            for page in pages:
                found |= {str(entry["path"])[start:]: stamp_of(entry) for entry in page}
                if len(found) > count:
                    return None
            return found

        return self._listed(attempt)

    def names(self) -> list[str]:
        """Names of the objects and folders of this place itself, sorted, asked for now.

        Raises:
            AccessDeniedError, TransportError: As `Objects.stat`.
        """
        prefix = self.objects.address.path

        def attempt() -> list[str]:
            client = self._usable().client()
            listed = obstore().list_with_delimiter(client, prefix=prefix or None)
            paths = [*listed["common_prefixes"], *(entry["path"] for entry in listed["objects"])]
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths)

        return self._listed(attempt)

    def _listed(self, attempt: Callable[[], Listed]) -> Listed:
        """What lists objects; a place without any is no error, and a bucket that is not there is.

        Raises:
            MissingFileError: There is no such bucket.
        """
        try:
            return self.objects._try("", attempt)
        except MissingFileError:
            base = self.objects.address.base
            raise MissingFileError(
                f"{self.url} cannot be listed or written to: there is no bucket {base}; make it "
                "first, or check its name",
                path=self.url,
            ) from None

    def stat(self, key: str) -> Stamp | None:
        """Size and version of an object, asked for now; None if there is none."""
        try:
            return stamp_of(self.objects._try(key, lambda: self._head(key)))
        except MissingFileError:
            return None

    def fetch(self, key: str, limit: int = LARGEST) -> tuple[bytes, Stamp] | None:
        """All of an object, asked for now; None if there is none."""
        self.objects.forget(key)
        try:
            return self.objects.fetch(key, limit)
        except MissingFileError:
            return None

    def whole(self, key: str) -> bytes | None:
        """All of an object of any size, asked for now; None if there is none.

        A small one takes one request, and a large one is read in pieces, each in its own time.

        Raises:
            SourceChangedError: It was replaced meanwhile.
            AccessDeniedError, TransportError: As `Objects.stat`.
        """
        try:
            data, stamp = self.objects.fetch_within(key, _PIECE)
            if stamp.size <= _PIECE:
                return data
            starts = range(0, stamp.size, _PIECE)
            return b"".join(
                self.objects.read(key, start, min(_PIECE, stamp.size - start), stamp)
                for start in starts
            )
        except MissingFileError:
            return None

    def holds(self, key: str, data: Body) -> bool:
        """Whether an object is there and has these very bytes."""
        stamp, view = self.stat(key), memoryview(data)
        if stamp is None or stamp.size != len(view):
            return False
        try:
            return all(
                self.objects.read(key, start, len(view[start : start + _PIECE]), stamp)
                == view[start : start + _PIECE]
                for start in range(0, len(view), _PIECE)
            )
        except (MissingFileError, SourceChangedError):
            return False

    def _head(self, key: str) -> Any:
        return obstore().head(self._usable().client(), self.objects._path(key))

    def _usable(self) -> ObstoreObjects:
        if RUNTIME.lost:
            raise StateError(
                f"{self.url} cannot be written to by a process that was forked after obstore was "
                "used, since the threads of obstore do not survive a fork: start workers with "
                "'spawn' or 'forkserver'",
                code="FORKED",
                path=self.url,
            )
        return self.objects


def _seconds(size: int) -> float:
    """What a request of so many bytes may take; few different values, for each has a client."""
    needed = -(-size // _SLOWEST)
    return float(1 << (needed - 1).bit_length()) if needed > 1 else 0.0
