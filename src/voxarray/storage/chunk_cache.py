"""Chunks of remote archives, kept on this machine's disk for whoever reads them again.

For training over a network: every epoch reads the same chunks, in all worker processes. Off unless
the setting ``voxarray.remote-cache`` gives it room. A name says which archive, in which state, a
chunk is of, so that nothing has to be dropped when a source changes: the new chunks have other
names, and the old ones are not asked for again. Chunks are checked by those who read them, against
the index of their shard, as if they came from the store; one that is not right is deleted and
fetched anew.

Processes share the folder without locks: a chunk appears by a rename, and one that somebody deletes
meanwhile is fetched.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import multiprocessing
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from voxarray.core import descriptors, portable, settings
from voxarray.core.disk import is_full
from voxarray.core.memory import format_bytes
from voxarray.storage.store import FileBlob

_LOG = logging.getLogger(__name__)

_SHARE = 16
"""The folder is looked through when a process has added this share of what it may hold."""

_KEPT = 0.9
"""Of what it may hold, after the oldest chunks were deleted."""

_RECENT = 60.0
"""Seconds for which a chunk counts as just read."""

_END = ".part"

_READ = os.O_RDONLY | portable.CLOEXEC

_OURS = re.compile(rf"[0-9a-f]{{32}}(-\d+-\d+)?(\.[0-9a-f]{{16}}{re.escape(_END)})?")
"""Names of chunks, and of those that are being written."""


def is_enabled() -> bool:
    """Whether the user wants a cache; there may be none, still, if its folder cannot be made."""
    return _limit() > 0


def chunk_cache() -> ChunkCache | None:
    """The cache as it is set; None if there is none."""
    limit = _limit()
    return _cache(_folder(), limit) if limit > 0 else None


def _limit() -> int:
    return settings.get_bytes("remote-cache")


@lru_cache(maxsize=4096)
def group_of(*facts: Hashable) -> str:
    """Begins the names of chunks that these facts tell from all others."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(slots=True)
class ChunkCache:
    """A folder of chunks.

    Attributes:
        folder: Where they are.
        limit: Bytes that they may have in all.
    """

    folder: str
    limit: int
    _added: int = 0
    _is_refused: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def largest(self) -> int:
        """Bytes of the largest chunk that is kept."""
        return self.limit // 2  # one that takes half of the room would push out nearly all others

    def holds(self, name: str) -> bool:
        """Whether a chunk is there; it may be gone when it is asked for."""
        return os.path.exists(self._path(name))

    def opened(self, name: str) -> FileBlob | None:
        """A chunk, for whoever closes it; None if it is gone."""
        try:
            fd = descriptors.open_file(self._path(name), _READ)
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            if time.time() - status.st_mtime > _RECENT:  # what was not read for longest goes first
                os.utime(fd)
        except OSError:
            os.close(fd)
            return None
        return FileBlob(fd, 0, status.st_size)

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep a chunk; a disk that has no room for it keeps none, and nothing else happens."""
        if self._is_refused or len(data) > self.largest:
            return
        path = self._path(name)
        # A name of its own, for others may put the same chunk, also of other containers, where
        # processes have the same numbers; renamed, it is there whole or not.
        partial = f"{path}.{secrets.token_hex(8)}{_END}"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(partial, "xb") as file:
                file.write(data)
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(partial)
            self._refused(error)
            return
        with self._lock:
            self._added += len(data)
            is_due = self._added > self.limit // _SHARE
            if is_due:
                self._added = 0
        if is_due:
            self.shrink()

    def drop(self, name: str) -> None:
        """Delete a chunk that is not right."""
        with suppress(OSError):
            os.unlink(self._path(name))

    def shrink(self) -> None:
        """Delete what was not read for longest, until the rest is below the limit."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total <= self.limit * (1 - 1 / _SHARE):  # several processes add at once
            return
        for _, size, path in files:
            if total <= self.limit * _KEPT:
                return
            with suppress(OSError):  # another process was quicker
                os.unlink(path)
            total -= size

    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(size for _, size, _ in self._files())

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """Time, bytes and path of each chunk; what else lies in the folder belongs to others."""
        for folder, _, names in os.walk(self.folder):
            for name in filter(_OURS.fullmatch, names):
                path = os.path.join(folder, name)
                with suppress(OSError):
                    if path != self._path(name):
                        continue
                    status = os.stat(path)
                    yield status.st_mtime_ns, status.st_size, path

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name[:2]}/{name}"

    def _refused(self, error: OSError) -> None:
        """A full disk is tried again when chunks were deleted; what else it refuses it refuses."""
        if is_full(error):
            self.limit = min(self.limit, int(self.size() * _KEPT))
            self.shrink()
        else:
            self._is_refused = True
        _LOG.warning(
            "the cache %s takes no more chunks of remote archives (%s); chunks are read from "
            "the store instead",
            self.folder,
            error,
        )


@lru_cache(maxsize=8)
def _cache(folder: str, limit: int) -> ChunkCache | None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # Below a folder that all may write to, somebody may have made this one for us to read from.
        if hasattr(os, "getuid") and os.stat(folder).st_uid != os.getuid():
            _LOG.warning(
                "%s belongs to somebody else: no chunks are kept there; choose another folder "
                "(voxarray.remote-cache-directory)",
                folder,
            )
            return None
    except OSError as error:
        _LOG.warning(
            "no chunks of remote archives are kept: %s; choose another folder "
            "(voxarray.remote-cache-directory)",
            error,
        )
        return None
    # Once, and not by each worker.
    if multiprocessing.parent_process() is None:
        atexit.register(_name, folder)
    return ChunkCache(folder, limit)


def _folder() -> str:
    configured = settings.get("remote-cache-directory")
    if configured is not None:
        return os.path.abspath(os.path.expanduser(str(configured)))
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    return os.path.join(tempfile.gettempdir(), f"voxarray-chunks-{owner}")


def _name(folder: str) -> None:
    """Say at the end what stays on the disk."""
    size = ChunkCache(folder, 1).size()
    if size:
        _LOG.warning(
            "%s of chunks of remote archives stay in %s for the next run (voxarray.remote-cache): "
            "delete the folder when you no longer need them",
            format_bytes(size),
            folder,
        )
