"""One call that saves several images: whether all that it saved is there when it ends."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from typing import Any

from voxarray.core.errors import ArchiveError, VoxarrayError
from voxarray.formats.file_sets import files_of
from voxarray.formats.registry import writable_format
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.saved_together import KEY, SavedTogether, facts_of_call
from voxarray.storage.store import SMALL


class SavingCall:
    """What one call saves, file by file.

    Of several callers that save the same files at once, each file is the last one's. Where that is
    not the same caller for all of them, one at least finds in the end that a file of its own is
    gone: had none, each would have ended before another replaced what it saved, so that all files
    were saved by the last. Archives say whose they are; of other files it is taken for granted that
    nobody replaces one in the moment before it is looked at.

    Args:
        paths: Of the files and archives, or their URLs.

    Attributes:
        facts: For the manifests of archives; None where there is only one image.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = list(paths)
        names = [path.rstrip("/").rpartition("/")[2] for path in self._paths]
        self.facts: dict[str, Any] | None = facts_of_call(names) if len(names) > 1 else None
        self._saved: dict[str, Hashable] = {}

    def note(self, path: str) -> None:
        """Note what is there now that a file was saved."""
        if self.facts is not None:
            self._saved[path] = self._expected(path)

    def require_undisturbed(self) -> None:
        """Raise `ArchiveError` (``OVERTAKEN``) if somebody else has replaced what was saved."""
        changed = [path for path, saved in self._saved.items() if _identity_of(path) != saved]
        if changed:
            rest = [path for path in self._paths if path not in changed]
            beside = f", so what is there now may not belong to {', '.join(rest)}" if rest else ""
            raise ArchiveError(
                f"somebody else has replaced or deleted {', '.join(changed)} while the subject was "
                f"saved{beside}: let only one process save at a time, and save the subject again "
                "with overwrite=True",
                code="OVERTAKEN",
                path=changed[0],
            )

    def _expected(self, path: str) -> Hashable:
        """What will be there as long as nobody replaces it: of an archive, this very call."""
        if self.facts is not None and _is_archive(path):
            return str(self.facts[KEY]["call"])
        return _identity_of(path)


def _is_archive(path: str) -> bool:
    """Whether its manifest can be asked; that of a zip in a bucket is not worth the requests."""
    written = writable_format(path)
    is_zarr = written is not None and written.identity == "zarr"
    return is_zarr and not (is_url(path) and is_zip_name(path))


def _identity_of(path: str) -> Hashable:
    """What tells a file that is there now from others; None if there is none."""
    if _is_archive(path):
        return _call_of(path)
    if is_url(path):
        from voxarray.storage.remote.writing import WritableObjects

        address = Address.parse(path)
        return WritableObjects.at(address.parent.url).stat(address.name)
    try:
        statuses = [os.stat(file) for file in files_of(path)]
    except OSError:
        return None
    return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses)


def _call_of(path: str) -> str | None:
    """The call that has saved an archive, asked for now."""
    from voxarray.archive import manifest as manifests
    from voxarray.archive.locate import open_store

    try:
        if is_url(path):
            from voxarray.storage.remote.writing import WritableObjects

            fetched = WritableObjects.at(path).fetch(manifests.KEY, SMALL)
            if fetched is None:
                return None
            manifest = manifests.Manifest.parse(fetched[0], path)
        else:
            manifest = manifests.Manifest.read(open_store(path))
    except VoxarrayError:
        return None
    saved = SavedTogether.parse(path, manifest.source)
    return None if saved is None else saved.call
