"""Whatever else fsspec reads, and what obstore reads where obstore cannot work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from voxarray.core import settings
from voxarray.core.errors import MissingPackageError, UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.objects import Failure, Objects, Stamp

_VERSIONS = ("ETag", "etag", "version_id", "LastModified", "mtime", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class FsspecObjects(Objects):
    """Objects below an address.

    fsspec does not say which version of an object a range is from: it is asked for beside each
    read, at most once a second.

    Attributes:
        address: The place.
    """

    address: Address

    @property
    def shown(self) -> str:
        return self.address.shown

    def below(self, key: str) -> FsspecObjects:
        return replace(self, address=self.address.join(key))

    def _located(self, key: str) -> tuple[Any, str]:
        core = import_optional("fsspec.core", "voxarray[remote]")
        options = (settings.get("fsspec-options") or {}).get(self.address.scheme, {})
        # fsspec keeps its file systems per process and notices forks.
        try:
            fs, path = core.url_to_fs(self.address.join(key).url, **options)
        except ImportError as error:  # says what to install
            raise MissingPackageError(f"{self.shown} cannot be read: {error}") from None
        except ValueError as error:
            if "not known" not in str(error):
                raise
            raise UnsupportedError(
                f"neither obstore nor fsspec knows {self.address.scheme}:// ({self.shown})",
                code="UNKNOWN_SCHEME",
                path=self.shown,
            ) from error
        return fs, str(path)

    def _stat(self, key: str) -> Stamp:
        fs, path = self._located(key)
        fs.invalidate_cache(fs._parent(path))
        info = fs.info(path)
        if info.get("type") == "directory":
            raise FileNotFoundError(path)
        version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
        return Stamp(int(info["size"]), version)

    def _read(self, key: str, start: int, length: int) -> tuple[bytes, None]:
        fs, path = self._located(key)
        return bytes(fs.cat_file(path, start=start, end=start + length)), None

    def _fetch(self, key: str, limit: int) -> tuple[bytes, Stamp]:
        stamp = self._stat(key)
        if stamp.size > limit:
            return b"", stamp
        fs, path = self._located(key)
        return bytes(fs.cat_file(path)), stamp

    def _folders(self, key: str) -> list[str]:
        fs, path = self._located(key)
        entries = fs.ls(path, detail=True, refresh=True)
        names = [
            str(entry["name"]).rstrip("/") for entry in entries if entry["type"] == "directory"
        ]
        return [name.rpartition("/")[2] for name in names]

    def _keys(self) -> list[str]:
        fs, path = self._located("")
        return [found[len(path) :].strip("/") for found in fs.find(path)]

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, FileNotFoundError):
            return Failure.MISSING
        if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403):
            return Failure.DENIED
        if isinstance(error, NotImplementedError):
            return Failure.NO_RANGES
        return Failure.INVALID if isinstance(error, ValueError) else Failure.TRANSIENT
