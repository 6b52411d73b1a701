"""Local copies of remote files, in one bounded folder per process that goes when it ends."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from typing import Any

from voxarray.core import portable, settings, thread_pools
from voxarray.core.disk import is_full
from voxarray.core.errors import ArchiveError, UnsupportedError, VoxarrayError
from voxarray.core.memory import format_bytes
from voxarray.storage.folder_lock import FolderLock, random_identity, remove_if_abandoned
from voxarray.storage.remote.file import RemoteFile
from voxarray.storage.remote.transport import usable

_PIECE = 8 << 20
_PREFIX = "voxarray-copies"


@dataclass
class Copy:
    """One copy.

    Attributes:
        path: Where it is.
        size: Bytes.
        is_mine: Whether this process made it, and alone removes it; else a parent did.
        readers: How many are reading it now.
    """

    path: str
    size: int
    is_mine: bool = True
    readers: int = 0


class Copies:
    """Copies by the ``identity`` of their file, those that were not read for longest dropped first.

    Safe to share between threads. The child of a fork reads the copies that its parent has, and
    makes others in a folder of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: OrderedDict[Hashable, Copy] = OrderedDict()
        self._making: dict[Hashable, Future[Copy]] = {}
        self._folder: FolderLock | None = None

    @contextmanager
    def held(self, file: Any) -> Iterator[str]:
        """Path of a copy, made if there is none; it stays while the block runs.

        Raises:
            SourceChangedError: The remote file is not the one that was opened.
            UnsupportedError: It is larger than the setting ``download-cache`` (``TOO_LARGE``).
            ArchiveError: The disk is full (``NO_SPACE``).
            MissingFileError, AccessDeniedError, TransportError: As `RemoteFile.read`.
        """
        copy = self._take(file)
        try:
            yield copy.path
        finally:
            with self._lock:
                copy.readers -= 1

    def forget(self, file: Any) -> None:
        """Remove the copy of a file, unless somebody is reading it, or another process made it."""
        with self._lock:
            copy = self._copies.get(file.identity)
            if copy is not None and not copy.readers and copy.is_mine:
                del self._copies[file.identity]
                shutil.rmtree(os.path.dirname(copy.path), ignore_errors=True)

    def clear(self) -> None:
        """Remove all copies that nobody reads."""
        with self._lock:
            self._drop_to(0)

    def _take(self, file: Any) -> Copy:
        key = file.identity
        while True:
            with self._lock:
                copy = self._copies.get(key)
                # A parent that ended, or somebody who tidied up, may have removed it.
                if copy is not None and os.path.exists(copy.path):
                    self._copies.move_to_end(key)
                    copy.readers += 1
                    return copy
                awaited = self._making.get(key)
                if awaited is None:
                    promise: Future[Copy] = Future()
                    self._making[key] = promise
            if awaited is None:
                self._make(file, key, promise)
            else:
                awaited.result()

    def _make(self, file: Any, key: Hashable, promise: Future[Copy]) -> None:
        try:
            copy = self._download(file)
        except BaseException as error:  # whoever waits must hear of Ctrl-C, too
            with self._lock:
                self._making.pop(key, None)
            promise.set_exception(error)
            raise
        with self._lock:
            self._copies[key] = copy
            self._making.pop(key, None)
            self._drop_to(settings.get_bytes("download-cache"), keep=key)
        promise.set_result(copy)

    def _download(self, file: Any) -> Copy:
        limit = settings.get_bytes("download-cache")
        if file.size > limit:
            raise UnsupportedError(
                f"{file.path} has {format_bytes(file.size)}, but copies may take "
                f"{format_bytes(limit)} at most (setting voxarray.download-cache): raise the "
                "setting, or download the file yourself",
                code="TOO_LARGE",
                path=file.path,
            )
        with self._lock:
            self._drop_to(limit - file.size)
        try:
            # A folder for each: readers see the name that the file has, and no other file.
            folder = tempfile.mkdtemp(dir=self._own_folder())
            path = os.path.join(folder, self._local_name(file))
            try:
                self._write(file, path)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except VoxarrayError:  # some are OSErrors, too
            raise
        except OSError as error:
            if not is_full(error):
                raise
            raise ArchiveError(
                f"there is no space for a copy of {file.path}, {format_bytes(file.size)}: free "
                "some, or choose another folder (setting voxarray.download-directory)",
                code="NO_SPACE",
                path=file.path,
            ) from error
        return Copy(path, file.size)

    def _local_name(self, file: Any) -> str:
        return _local_name(file)

    def _write(self, file: Any, path: str) -> None:
        download(file, path)

    def _drop_to(self, limit: int, keep: Hashable | None = None) -> None:
        """Drop copies of this process until they take no more than ``limit`` bytes."""
        own_copies = {k: c for k, c in self._copies.items() if c.is_mine}
        total = sum(copy.size for copy in own_copies.values())
        for key, copy in own_copies.items():
            if total <= limit:
                return
            if copy.readers or key == keep:
                continue
            total -= copy.size
            del self._copies[key]
            shutil.rmtree(os.path.dirname(copy.path), ignore_errors=True)

    def _own_folder(self) -> str:
        with self._lock:
            if self._folder is None or not self._folder.is_there:
                parent = settings.get("download-directory") or tempfile.gettempdir()
                os.makedirs(parent, exist_ok=True)
                _sweep(parent)
                self._folder = FolderLock.make(parent, lambda: f"{_PREFIX}-{random_identity()}")
                # Also at the end of workers of multiprocessing, which do not run atexit. Children
                # of a fork inherit this, and the folder is not theirs.
                util.Finalize(None, self._folder.remove, exitpriority=10)
            return self._folder.folder

    def _forget_parent(self) -> None:
        self._lock = threading.Lock()
        self._making = {}
        self._folder = None
        for copy in self._copies.values():
            copy.readers, copy.is_mine = 0, False


def download(file: RemoteFile, path: str) -> None:
    """Copy a remote file; what is at ``path`` afterwards is whole.

    Raises:
        SourceChangedError, MissingFileError, AccessDeniedError, TransportError: As
            `RemoteFile.read`.
    """
    fd = os.open(f"{path}.part", os.O_WRONLY | os.O_CREAT | os.O_EXCL | portable.BINARY, 0o600)
    try:
        try:
            _by_ranges(file, fd)
        except UnsupportedError as error:
            if error.code != "NO_RANGES":
                raise
            _as_a_whole(file, fd)
    finally:
        os.close(fd)
    os.rename(f"{path}.part", path)


def _by_ranges(file: RemoteFile, fd: int) -> None:
    pool = thread_pools.pool(max(1, int(settings.get("remote-requests"))))

    def copy(start: int) -> None:
        _write(fd, file.read(start, _PIECE), start)

    tasks = [pool.submit(copy, start) for start in range(0, file.size, _PIECE)]
    try:
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        wait(tasks)  # the descriptor is closed after this


def _as_a_whole(file: RemoteFile, fd: int) -> None:
    data, stamp = usable(file.objects).fetch(file.key, file.size)
    file.objects.require_same(file.key, file.stamp, stamp)
    _write(fd, data, 0)


def _write(fd: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:  # a full disk may take a part before it refuses
        count = portable.pwrite(fd, view, start)
        view, start = view[count:], start + count


def _local_name(file: RemoteFile) -> str:
    """The end of the file's name, by which its format is known."""
    name = file.key.rpartition("/")[2] or "file"
    return re.sub(r"[^\w.-]", "_", name)[-100:]


def _sweep(parent: str) -> None:
    """Remove folders of processes that were killed before they could."""
    pattern = re.compile(rf"{_PREFIX}-[0-9a-f]{{16}}(?:\.new)?")
    with suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(parent)):
            with suppress(OSError):  # another process tidies up, too
                remove_if_abandoned(os.path.join(parent, name))


COPIES = Copies()
"""The copies of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COPIES._forget_parent)
