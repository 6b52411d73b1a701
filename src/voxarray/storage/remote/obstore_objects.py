"""Object stores and web servers through obstore."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from voxarray.core.errors import UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.storage.remote import options as remote_options
from voxarray.storage.remote.address import OBJECT_STORES, WEB, Address
from voxarray.storage.remote.answers import Answer
from voxarray.storage.remote.event_loop import running_loop
from voxarray.storage.remote.objects import Failure, Objects, Stamp

SCHEMES = (*OBJECT_STORES, *WEB)

_ABSENT = ("404", "410")
_PASSING = ("408", "409", "425", "429")  # timeout, conflict, too early, too many requests
_NEVER = ("501", "505", "507")  # not implemented, no such HTTP, no space

# Where machines in a cloud are told who they are.
_CREDENTIAL_SERVERS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")

_NO_HEAD = ("405", "501")

_FAILURES = {
    "NotFoundError": Failure.MISSING,
    "PermissionDeniedError": Failure.DENIED,
    "UnauthenticatedError": Failure.DENIED,
    "NotSupportedError": Failure.NO_RANGES,
    "InvalidPathError": Failure.BAD_KEY,
    "UnknownConfigurationKeyError": Failure.INVALID,
}

_NO_KEY = "Could not parse path"
"""What obstore says of a key that it refuses before it asks anybody."""


@dataclass(frozen=True, slots=True)
class ObstoreObjects(Objects):
    """Objects below an address.

    Attributes:
        address: The place.
    """

    address: Address

    @property
    def shown(self) -> str:
        return self.address.shown

    def below(self, key: str) -> ObstoreObjects:
        return replace(self, address=self.address.join(key))

    @property
    def unique(self) -> str:
        options = remote_options.location_key("remote-options", self.address.scheme)
        return f"{self.shown}#{self.address.digest}{options}"

    @property
    def _client(self) -> Any:
        return self.client()

    def client(self, seconds: float = 0.0) -> Any:
        """What makes the requests.

        Args:
            seconds: What one may take at least, if the setting ``remote-timeout`` allows less.
        """
        address = self.address
        plain = address.scheme == "http"
        options = remote_options.of_client(address.scheme, is_plain=plain, seconds=seconds)
        return _connected(address.base, address.tail, options)

    def _path(self, key: str) -> str:
        return self.address.join(key).path

    def _stat(self, key: str) -> Stamp:
        try:
            return stamp_of(obstore().head(self._client, self._path(key)))
        except Exception as error:
            if Answer.of(error).status not in _NO_HEAD:
                raise
        return self._read(key, 0, 1)[1]  # some servers answer GET alone

    def _read(self, key: str, start: int, length: int) -> tuple[bytes, Stamp]:
        options: Any = {"range": (start, start + length)}
        result = obstore().get(self._client, self._path(key), options=options)
        return bytes(result.bytes()), stamp_of(result.meta)

    def _fetch(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        result = obstore().get(self._client, self._path(key))
        stamp = stamp_of(result.meta)
        return (b"" if stamp.size > limit else bytes(result.bytes())), stamp

    def _fetch_all(self, keys: Sequence[str], limit: int) -> dict[str, tuple[bytes, Stamp]]:
        import asyncio

        client = self._client

        async def fetch(key: str) -> tuple[bytes, Stamp] | None:
            try:
                response = await obstore().get_async(client, self._path(key))
                stamp = stamp_of(response.meta)
                data = b"" if stamp.size > limit else bytes(await response.bytes_async())
            except Exception:  # whoever needs it asks again, and says what is wrong
                return None
            return (data, stamp) if len(data) == stamp.size else None

        async def fetch_all() -> list[tuple[bytes, Stamp] | None]:
            return await asyncio.gather(*map(fetch, keys))

        results = asyncio.run_coroutine_threadsafe(fetch_all(), running_loop()).result()
        return {key: item for key, item in zip(keys, results, strict=True) if item is not None}

    def _folders(self, key: str) -> list[str]:
        self._require_listing(key)
        prefix = self._path(key)
        listed = obstore().list_with_delimiter(self._client, prefix=prefix or None)
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in listed["common_prefixes"]]

    def _keys(self) -> list[str]:
        self._require_listing("")
        prefix = self.address.path
        pages = obstore().list(self._client, prefix=prefix or None)
        start = len(prefix) + 1 if prefix else 0
        return [str(entry["path"])[start:] for page in pages for entry in page]

    def _holds_any(self) -> bool:
        self._require_listing("")
        prefix = f"{self.address.path}/" if self.address.path else None
        return any(True for page in obstore().list(self._client, prefix=prefix) for _ in page)

    def _require_listing(self, key: str) -> None:
        if self.address.scheme in WEB:  # what obstore asks there, only WebDAV answers
            raise UnsupportedError(
                f"{self.where(key)} has no listing: give the addresses of the images, for example "
                "in a .txt file",
                code="NO_LISTING",
            )

    def _failure(self, error: Exception) -> Failure:
        answer = Answer.of(error)
        status = answer.status
        kind = _FAILURES.get(type(error).__name__)
        if kind is None and isinstance(error, FileNotFoundError):
            kind = Failure.MISSING
        if isinstance(error, ValueError) and str(error).startswith(_NO_KEY):
            kind = Failure.BAD_KEY
        if status in _ABSENT:
            kind = Failure.MISSING
        elif kind is Failure.MISSING and status:  # obstore takes 405 for it
            kind = Failure.INVALID
        if kind is not None:
            return kind
        if answer.denies or any(host in str(error) for host in _CREDENTIAL_SERVERS):
            return Failure.DENIED  # or there are no credentials, and nobody to ask for some
        permanent = status in _NEVER or (status.startswith("4") and status not in _PASSING)
        return Failure.INVALID if permanent else Failure.TRANSIENT


@dataclass(frozen=True, slots=True)
class PinnedObjects(ObstoreObjects):
    """Objects that are asked for with the settings of the first request, for one piece of work.

    To look the settings up takes a tenth of the time that this process needs for a small request.

    Attributes:
        kept: Clients by the seconds that a request may take, and what `unique` is.
    """

    kept: dict[float | str, Any] = field(default_factory=dict, compare=False, repr=False)

    def below(self, key: str) -> ObstoreObjects:
        return ObstoreObjects(self.address.join(key))

    @property
    def unique(self) -> str:
        if "unique" not in self.kept:
            self.kept["unique"] = ObstoreObjects(self.address).unique
        unique: str = self.kept["unique"]
        return unique

    def client(self, seconds: float = 0.0) -> Any:
        if seconds not in self.kept:
            self.kept[seconds] = ObstoreObjects(self.address).client(seconds)
        return self.kept[seconds]


def obstore() -> Any:
    """The package."""
    return import_optional("obstore", "voxarray[remote]")


def stamp_of(meta: Any) -> Stamp:
    """What the answer of a server says of an object."""
    version = meta.get("e_tag") or str(meta.get("last_modified") or "")
    return Stamp(int(meta["size"]), str(version))


@dataclass
class _Runtime:
    """Whether this process's copy of obstore can work.

    Attributes:
        started: Whether requests were made, hence threads started.
        lost: Whether those threads stayed behind in the parent of a fork: a request would wait
            for them for ever.
    """

    started: bool = False
    lost: bool = False


RUNTIME = _Runtime()


@lru_cache(maxsize=64)
def _connected(base: str, tail: str, configured: remote_options.ClientOptions) -> Any:
    """The client of a bucket or host; obstore repeats nothing itself, for `Objects` does."""
    stores = import_optional("obstore.store", "voxarray[remote]")
    RUNTIME.started = True
    address = Address(base, "", tail).without_user
    repeat: dict[str, Any] = {"max_retries": 0}
    client = dict(configured.client)
    if address.base != base:  # obstore leaves them out of its requests
        headers = {"Authorization": Address(base, "").basic_authorization}
        client["default_headers"] = headers | dict(client.get("default_headers") or {})
    options = {"client_options": client, "retry_config": repeat}
    try:
        return stores.from_url(address.url, **options, **configured.store)
    except Exception as error:
        raise remote_options.refusal(error, address.scheme, configured) from error
    except BaseException as error:
        # A panic of Rust passes `except Exception`, and says nothing that a user could use.
        if type(error).__name__ != "PanicException":
            raise
        raise remote_options.refusal(error, address.scheme, configured) from None


def _after_fork() -> None:
    RUNTIME.lost = RUNTIME.lost or RUNTIME.started
    _connected.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
