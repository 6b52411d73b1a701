"""Manifests that this process has put into a bucket: what is still the same is not fetched again.

They are kept while a run converts images here, for the catalogue at its end. The listing of the
bucket tells whether an archive has still the manifest that was put: by its stamp, which the answer
to the put has told, too.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp

_MOST_BYTES = 16 << 20
"""Of all runs of this process together; what is put afterwards is fetched as before."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A manifest as it was put.

    Attributes:
        data: Its bytes.
        stamp: Of the object, as the answer to the put tells.
        files: How many objects the archive has besides.
    """

    data: bytes
    stamp: Stamp
    files: int


class _Manifests:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = Counter[str]()
        self.by_archive: dict[str, dict[str, Kept]] = {}
        self.bytes = 0


_manifests = _Manifests()


def _forget_parents() -> None:
    """Start anew in the child of a fork: a thread of the parent may have held the lock."""
    global _manifests
    _manifests = _Manifests()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


@contextmanager
def keeping(folder: str) -> Iterator[None]:
    """Keep manifests of the archives in a folder during the body.

    Args:
        folder: URL of the archives of a cohort.
    """
    with _manifests.lock:
        _manifests.runs[folder] += 1
    try:
        yield
    finally:
        with _manifests.lock:
            _manifests.runs[folder] -= 1
            if _manifests.runs[folder] <= 0:
                del _manifests.runs[folder]
                dropped = _manifests.by_archive.pop(folder, {})
                _manifests.bytes -= sum(len(kept.data) for kept in dropped.values())


def keep(archive: str, kept: Kept) -> None:
    """Keep the manifest of an archive, if a run asks for it, and there is room.

    Args:
        archive: URL of the archive.
        kept: Its manifest. One whose stamp tells no version is not kept, for it could be another.
    """
    folder, _, name = archive.rpartition("/")
    with _manifests.lock:
        if folder not in _manifests.runs or not kept.stamp.version:
            return
        of_folder = _manifests.by_archive.setdefault(folder, {})
        before = of_folder.pop(name, None)
        _manifests.bytes -= 0 if before is None else len(before.data)
        if _manifests.bytes + len(kept.data) <= _MOST_BYTES:
            of_folder[name] = kept
            _manifests.bytes += len(kept.data)


def kept_in(folder: str) -> Mapping[str, Kept]:
    """What is kept of the archives in a folder, by their names."""
    with _manifests.lock:
        return dict(_manifests.by_archive.get(folder, {}))
