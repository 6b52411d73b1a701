"""A ``zarr.abc.store.Store`` that the user made."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from voxarray.storage.remote.objects import Failure, Objects, Stamp


def is_zarr_store(value: object) -> bool:
    """Whether a value is a store of zarr-python, which is not imported to find out."""
    kind = getattr(sys.modules.get("zarr.abc.store"), "Store", None)
    return kind is not None and isinstance(value, kind)


@dataclass(frozen=True, eq=False)
class ZarrObjects(Objects):
    """Objects of a store, below a prefix.

    Such stores say nothing of versions: of an object that changes only its size is noticed.

    Attributes:
        store: The store.
        prefix: Without slashes at its ends.
        name: Of no other store, for two that are made one after another may look the same.
    """

    store: Any
    prefix: str = ""
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def shown(self) -> str:
        return f"{self.store}/{self.prefix}".rstrip("/")

    @property
    def unique(self) -> str:
        return f"{self.shown}#{self.name}"

    def below(self, key: str) -> ZarrObjects:
        return replace(self, prefix=self._path(key))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZarrObjects):
            return NotImplemented
        return (self.name, self.prefix) == (other.name, other.prefix)

    def __hash__(self) -> int:
        return hash((self.name, self.prefix))

    def _path(self, key: str) -> str:
        return f"{self.prefix}/{key.strip('/')}".strip("/")

    def _get(self, key: str, request: Any = None) -> bytes:
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        buffer = sync(self.store.get(self._path(key), default_buffer_prototype(), request))
        if buffer is None:
            raise FileNotFoundError(key)
        return bytes(buffer.to_bytes())

    def _stat(self, key: str) -> Stamp:
        from zarr.core.sync import sync

        return Stamp(int(sync(self.store.getsize(self._path(key)))))

    def _read(self, key: str, start: int, length: int) -> tuple[bytes, None]:
        from zarr.abc.store import RangeByteRequest

        return self._get(key, RangeByteRequest(start, start + length)), None

    def _fetch(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        stamp = self._stat(key)
        return (b"" if stamp.size > limit else self._get(key)), stamp

    def _folders(self, key: str) -> list[str]:
        # Stores list files and folders alike; what something lies in is a folder.
        listed = self._collected(self.store.list_dir(self._path(key)))
        names = {name.strip("/").rpartition("/")[2] for name in listed}
        return [n for n in names if self._collected(self.store.list_dir(self._path(f"{key}/{n}")))]

    def _keys(self) -> list[str]:
        start = len(self.prefix) + 1 if self.prefix else 0
        paths = self._collected(self.store.list_prefix(self.prefix and f"{self.prefix}/"))
        return [key[start:] for key in paths]

    def _collected(self, listing: Any) -> list[str]:
        from zarr.core.sync import sync

        async def collect() -> list[str]:
            return [str(name) async for name in listing]

        return sync(collect())  # type: ignore[no-any-return]

    def _failure(self, error: Exception) -> Failure:
        missing = isinstance(error, (FileNotFoundError, KeyError))
        if missing or type(error).__name__ == "NotFoundError":  # obstore's
            return Failure.MISSING
        return Failure.DENIED if isinstance(error, PermissionError) else Failure.TRANSIENT
