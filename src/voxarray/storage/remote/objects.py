"""What can be asked of a store behind a URL, and how failures are told apart."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from voxarray.core.errors import (
    AccessDeniedError,
    FormatError,
    MissingFileError,
    SourceChangedError,
    TransportError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.storage.remote import retries
from voxarray.storage.remote.redaction import without_secrets

Result = TypeVar("Result")

FRESH_SECONDS = 1.0
"""How long an object is taken to be what it was when it was last asked about."""

_REMEMBERED = 4096

_DOCUMENTS = ("manifest.json", "zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_LARGEST_DOCUMENT = 1 << 20

# Not the network's doing.
_BUGS = (TypeError, AttributeError, NameError, ImportError, AssertionError)


class Failure(Enum):
    """Why a request failed."""

    MISSING = auto()
    DENIED = auto()
    INVALID = auto()
    BAD_KEY = auto()
    NO_RANGES = auto()
    TRANSIENT = auto()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes an object the one that it was.

    Attributes:
        size: Bytes.
        version: Entity tag, or time of the last change; empty if the server tells neither.
    """

    size: int
    version: str = ""

    def fits(self, other: Stamp) -> bool:
        """Whether both may be of one object; not every answer of a server tells a version."""
        versions = (self.version, other.version)
        return self.size == other.size and (not all(versions) or versions[0] == versions[1])


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """An object as it was when it was opened; the like of `FileIdentity`.

    Attributes:
        url: Without secrets, but with a digest of them; of a store object, with its name.
        stamp: Its size and version.
    """

    url: str
    stamp: Stamp


class Objects(ABC):
    """The objects below one place. Implementations are values: picklable, nothing kept open."""

    __slots__ = ()

    @property
    @abstractmethod
    def shown(self) -> str:
        """Where, for people."""

    @property
    @abstractmethod
    def unique(self) -> str:
        """Text that no other place has, by which what is known of objects is kept.

        What is `shown` will not do: places may differ in what must not be shown.
        """

    @abstractmethod
    def below(self, key: str) -> Objects:
        """The objects below a folder of this place."""

    # --- To be written per transport; errors as the transport raises them ----------------------

    @abstractmethod
    def _stat(self, key: str) -> Stamp: ...

    @abstractmethod
    def _read(self, key: str, start: int, length: int) -> tuple[bytes, Stamp | None]:
        """Bytes, and the stamp of the object that they are from if the response tells it."""

    @abstractmethod
    def _fetch(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        """All bytes of an object; none if it is larger than ``limit``."""

    @abstractmethod
    def _folders(self, key: str) -> list[str]: ...

    @abstractmethod
    def _keys(self) -> list[str]: ...

    def _holds_any(self) -> bool:
        return False

    @abstractmethod
    def _failure(self, error: Exception) -> Failure: ...

    # --- For everybody -------------------------------------------------------------------------

    def where(self, key: str) -> str:
        """An object, for people."""
        return f"{self.shown.rstrip('/')}/{key}" if key else self.shown

    def stat(self, key: str) -> Stamp:
        """Size and version of an object, at most a second old.

        Raises:
            MissingFileError: There is none.
            AccessDeniedError: It may not be read.
            TransportError: No answer after several attempts.
        """
        answer = _stats.get((self.unique, key))
        if answer is None:
            try:
                answer = self._try(key, lambda: self._stat(key))
            except MissingFileError as error:
                answer = error
            _stats.put((self.unique, key), answer)
        if isinstance(answer, MissingFileError):
            raise MissingFileError(answer.message, path=answer.path)
        stamp: Stamp = answer
        return stamp

    def read(self, key: str, start: int, length: int, stamp: Stamp) -> bytes:
        """Part of an object that lies within its size.

        Raises:
            SourceChangedError: The object is not the one with this stamp.
            MissingFileError, AccessDeniedError, TransportError: As `stat`.
            UnsupportedError: The server sends whole files only (``NO_RANGES``).
        """
        data, current = self.read_stamped(key, start, length)
        self.require_same(key, stamp, current)
        return data

    def read_stamped(self, key: str, start: int, length: int) -> tuple[bytes, Stamp]:
        """Part of an object, whichever it is now; with its stamp. Errors as `read`."""

        def attempt() -> tuple[bytes, Stamp | None]:
            data, stamp = self._read(key, start, length)
            if len(data) != length:  # a body that was cut short, or a range that was ignored
                raise ShortReadError(f"{len(data)} bytes came instead of {length}")
            return data, stamp

        data, stamp = self._try(key, attempt)
        return data, self.stat(key) if stamp is None else stamp

    def fetch(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        """All of a small object.

        Raises:
            FormatError: It has more than ``limit`` bytes (``BOMB``).
            MissingFileError, AccessDeniedError, TransportError: As `stat`.
        """
        cached = _documents.get((self.unique, key)) if _is_document(key) else None
        data, stamp = self.fetch_within(key, limit) if cached is None else cached
        if cached is None:
            _stats.put((self.unique, key), stamp)
            if _is_document(key) and stamp.size <= _LARGEST_DOCUMENT:
                _documents.put((self.unique, key), (data, stamp))
        if stamp.size > limit:
            raise FormatError(
                f"{self.where(key)} has {stamp.size} bytes, but at most {limit} are expected: it "
                "is damaged, or is not the file that its name says; copy it again",
                code="BOMB",
                path=self.shown,
            )
        return data, stamp

    def fetch_within(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        """All of an object, asked for now; no bytes if it has more than ``limit``.

        Raises:
            MissingFileError, AccessDeniedError, TransportError: As `stat`.
        """

        def attempt() -> tuple[bytes, Stamp]:
            data, stamp = self._fetch(key, limit)
            if stamp.size <= limit and len(data) != stamp.size:
                raise ShortReadError(f"{len(data)} bytes came instead of {stamp.size}")
            return data, stamp

        return self._try(key, attempt)

    def prefetch(self, keys: Sequence[str]) -> None:
        """Fetch documents side by side that will be asked for next, whether they are there or not.

        One after the other each would cost the latency of the network.
        """
        new = [key for key in keys if _documents.get((self.unique, key)) is None]
        if len(new) < 2:
            return
        for key, (data, stamp) in self._fetch_all(new, _LARGEST_DOCUMENT).items():
            _documents.put((self.unique, key), (data, stamp))
            _stats.put((self.unique, key), stamp)

    def _fetch_all(self, keys: Sequence[str], limit: int) -> dict[str, tuple[bytes, Stamp]]:  # noqa: ARG002
        """Objects that came at once, of no more than ``limit`` bytes each; others are left out."""
        return {}

    def folders(self, key: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        return sorted(self._listed(key, lambda: self._folders(key)))

    def keys(self) -> list[str]:
        """All objects, sorted."""
        return sorted(self._listed("", self._keys))

    def is_folder(self) -> bool:
        """Whether there are objects below this place; False where nobody says so."""
        try:
            return self._try("", self._holds_any)
        except (AccessDeniedError, UnsupportedError, MissingFileError):
            return False

    def require_same(self, key: str, opened: Stamp, current: Stamp) -> None:
        """Raise `SourceChangedError` unless an object is the one that was opened."""
        if not opened.fits(current):
            raise SourceChangedError(
                f"{self.where(key)} changed after it was opened (was {opened.size} bytes, "
                f"{opened.version}; is {current.size} bytes, {current.version}): open it again",
                path=self.shown,
            )

    def _listed(self, key: str, request: Callable[[], Result]) -> Result:
        try:
            return self._try(key, request)
        except (UnsupportedError, MissingFileError) as error:
            raise UnsupportedError(
                f"{self.where(key)} does not list its files: give the URL of the image or array "
                "itself",
                code="NO_LISTING",
                path=self.shown,
            ) from error

    def forget(self, *keys: str) -> None:
        """Ask anew for objects that were changed from here."""
        unique = self.unique
        for key in keys:
            _stats.drop((unique, key))
            _documents.drop((unique, key))

    def _try(self, key: str, request: Callable[[], Result], done: str = "read") -> Result:
        try:
            return retries.repeat(request, self._is_transient)
        except (VoxarrayError, *_BUGS):
            raise
        except Exception as error:
            # What the transport says holds the whole URL, with its secrets, and would be printed.
            raise self._as_error(error, key, done) from None

    def _is_transient(self, error: Exception) -> bool:
        if isinstance(error, (VoxarrayError, *_BUGS)):
            return False
        if isinstance(error, ShortReadError):
            return True
        return self._failure(error) in (Failure.TRANSIENT, Failure.NO_RANGES)

    def _as_error(self, error: Exception, key: str, done: str) -> VoxarrayError:
        where = self.where(key)
        short = isinstance(error, ShortReadError)
        kind = Failure.TRANSIENT if short else self._failure(error)
        text = without_secrets(error)
        if kind is Failure.MISSING:
            told = f"there is no {where}: check the address"
            if "*" in where:
                told += (
                    "; a pattern in a URL is not resolved: give the folder of the store as source, "
                    "and choose its files by --image-pattern (image_patterns=)"
                )
            return MissingFileError(told, path=self.shown)
        if kind is Failure.DENIED:
            return AccessDeniedError(
                f"{where} may not be {done} ({text}): check the credentials, or read public data "
                "without any (skip_signature, in the setting voxarray.remote-options)",
                path=self.shown,
            )
        if kind is Failure.NO_RANGES:
            return UnsupportedError(
                f"the server of {where} sends whole files only, and parts are needed: download "
                "the file, and open the copy",
                code="NO_RANGES",
                path=self.shown,
            )
        if kind is Failure.BAD_KEY:
            return UnsupportedError(
                f"{where!r} cannot be the name of an object: a part of it is empty, '.' or '..', "
                "or has a character that cannot be printed; choose another name",
                code="BAD_URL",
                path=self.shown,
            )
        if kind is Failure.INVALID:
            return TransportError(
                f"{where} could not be {done} ({text}), and another attempt would fail, too: check "
                "the address, the settings voxarray.remote-options and voxarray.fsspec-options, "
                "and the credentials, which may have expired",
                path=self.shown,
            )
        return TransportError(
            f"{where} could not be {done} ({text}); the last of several attempts failed: try again "
            "later, or check the address and the network",
            path=self.shown,
        )


class ShortReadError(Exception):
    """Fewer or more bytes came than were asked for."""


class _Memory:
    """What was found out within the last second, so that one read asks once."""

    def __init__(self, size: int = _REMEMBERED) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> Any:
        with self._lock:
            when, value = self._entries.get(key, (0.0, None))
        return value if time.monotonic() - when < FRESH_SECONDS else None

    def put(self, key: tuple[str, str], value: Any) -> None:
        with self._lock:
            self._entries[key] = time.monotonic(), value
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all; in the child of a fork the lock may be held by a thread that is not there."""
        self._lock = threading.Lock()
        self._entries.clear()


_stats = _Memory()
_documents = _Memory(16)


def _is_document(key: str) -> bool:
    """Whether a name is that of metadata, for which several ask while one image is opened."""
    return key.rpartition("/")[2] in _DOCUMENTS


def forget() -> None:
    """Ask anew for all that was found out."""
    _stats.clear()
    _documents.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
