"""Whatever else fsspec reads, and what obstore reads where obstore cannot work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from voxarray.core.errors import MissingPackageError, UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.storage.remote import options as remote_options
from voxarray.storage.remote.address import WEB, Address
from voxarray.storage.remote.objects import Failure, Objects, Stamp
from voxarray.storage.remote.redaction import without_secrets

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

    @property
    def unique(self) -> str:
        options = remote_options.location_key("fsspec-options", self.address.scheme)
        return f"{self.shown}#{self.address.digest}{options}"

    def below(self, key: str) -> FsspecObjects:
        return replace(self, address=self.address.join(key))

    def _located(self, key: str) -> tuple[Any, str]:
        core = import_optional("fsspec.core", "voxarray[remote]")
        options = remote_options.configured("fsspec-options", self.address.scheme)
        address = self.address.join(key)
        # fsspec keeps its file systems per process and notices forks.
        try:
            if address.is_chained or "::" not in address.url:
                fs, path = core.url_to_fs(address.url, **options)
            else:  # url_to_fs would split names and hosts at it
                fs, path = _unchained(core, address, options)
        except ImportError as error:  # says what to install
            raise MissingPackageError(f"{self.shown} cannot be read: {error}") from None
        except ValueError as error:
            if "not known" not in str(error):
                raise _unusable(self.shown, error) from None
            raise UnsupportedError(
                f"neither obstore nor fsspec knows {self.address.scheme}:// ({self.shown}): "
                "correct the address, or install the package that adds it to fsspec",
                code="UNKNOWN_SCHEME",
                path=self.shown,
            ) from error
        except (TypeError, NotImplementedError) as error:
            raise _unusable(self.shown, error) from None
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
        return [entry[len(path) :].strip("/") for entry in fs.find(path)]

    def _holds_any(self) -> bool:
        fs, path = self._located("")
        return bool(fs.isdir(path))

    def _failure(self, error: Exception) -> Failure:
        status = getattr(error, "status", None)
        if isinstance(error, FileNotFoundError):
            status = getattr(error.__cause__, "status", None)
            is_web = self.address.scheme.rpartition("::")[2] in WEB
            # Whatever goes wrong while it asks for a size, fsspec calls FileNotFoundError.
            if error.__cause__ is None or status in (404, 410) or not is_web:
                return Failure.MISSING
        if isinstance(error, PermissionError) or status in (401, 403):
            return Failure.DENIED
        if isinstance(error, NotImplementedError):
            return Failure.NO_RANGES
        return Failure.INVALID if isinstance(error, ValueError) else Failure.TRANSIENT


def _unchained(core: Any, address: Address, options: Any) -> tuple[Any, str]:
    kind = core.get_filesystem_class(address.scheme)
    arguments = {**kind._get_kwargs_from_urls(address.url), **options}
    return kind(**arguments), str(kind._strip_protocol(address.url))


def _unusable(url: str, error: Exception) -> UnsupportedError:
    return UnsupportedError(
        f"fsspec cannot use {url} ({without_secrets(error)}): check the URL, and the setting "
        "voxarray.fsspec-options",
        code="BAD_URL",
        path=url,
    )
