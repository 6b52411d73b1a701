"""Building an archive out of sight and publishing it whole.

The archive grows in a hidden sibling of its destination. Only when every file is written, synced
to disk and named by the manifest does one rename make it visible; with ``overwrite`` the old
archive is exchanged for the new one in the same system call and deleted afterwards. Whatever
interrupts this, the destination is the old archive, or nothing, or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c

from voxarray.archive import manifest as manifests
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.core.disk import refusal, sync
from voxarray.core.errors import ArchiveError, ArchiveExistsError, VoxarrayError

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
_PACKED = ".ozx"  # added to the name of a staging directory that was packed into one file
_SYNC_THREADS = 4  # waits on the disk, not on a core


@dataclass(slots=True)
class Staging:
    """An archive under construction.

    Attributes:
        root: The hidden directory.
        destination: Where it will appear.
        files: Entries of the files written so far.
    """

    root: str
    destination: str
    files: dict[str, FileEntry] = field(default_factory=dict)
    _unsynced: list[str] = field(default_factory=list)

    def write(self, key: str, data: bytes) -> None:
        """Write a small file."""
        path = f"{self.root}/{key}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
        self.files[key] = FileEntry(len(data), google_crc32c.value(data))
        self._unsynced.append(path)

    def record(self, key: str, entry: FileEntry) -> None:
        """Note a file that somebody else has written and synced."""
        self.files[key] = entry

    def seal(self, source: Mapping[str, Any]) -> None:
        """Sync everything, then write and sync the manifest: from now on the archive is whole."""
        folders = [folder for folder, _, _ in os.walk(self.root)]
        with ThreadPoolExecutor(_SYNC_THREADS) as threads:
            list(threads.map(sync, [*self._unsynced, *folders]))
        path = f"{self.root}/{manifests.KEY}"
        with open(path, "xb") as file:
            file.write(Manifest(self.files, source).to_bytes())
        sync(path)
        sync(self.root)


@contextmanager
def staging(
    destination: str | os.PathLike[str], overwrite: bool, folder: str | None = None
) -> Iterator[Staging]:
    """A staging directory for an archive at ``destination``; removed unless it was published.

    Args:
        destination: Where the archive will be.
        overwrite: Whether something may be there already.
        folder: Of the same file system, in which to build it; by default that of the destination.

    Raises:
        ArchiveExistsError: If the destination exists and ``overwrite`` is False.
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    target = os.path.abspath(destination)
    refuse_existing(target, overwrite)
    parent, name = os.path.split(target)
    place = parent if folder is None else os.path.abspath(folder)
    root = os.path.join(place, hidden_name(name))
    try:
        os.makedirs(parent, exist_ok=True)
        os.makedirs(place, exist_ok=True)
        remove_abandoned(place, re.escape(name))
        os.mkdir(root)
        yield Staging(root, target)
    except VoxarrayError:
        raise  # some of ours are OSErrors too
    except OSError as error:
        raise refusal(error, target) from error
    finally:
        with suppress(OSError):  # the error that brought us here says more
            _delete(root)
            _delete(f"{root}{_PACKED}")


def publish(staged: str, destination: str, overwrite: bool) -> None:
    """Rename a finished directory or file to its destination and sync the folder it is in.

    Raises:
        ArchiveExistsError: If something is there and ``overwrite`` is False, even if it appeared
            a moment ago.
    """
    flags = _RENAME_EXCHANGE if overwrite and os.path.lexists(destination) else _RENAME_NOREPLACE
    try:
        _renameat2(staged, destination, flags)
    except FileExistsError:
        refuse_existing(destination, overwrite)
        raise
    try:
        sync(os.path.dirname(destination))
    except OSError as error:
        raise ArchiveError(
            f"{destination} is whole and in its place, but the folder it is in cannot be synced "
            f"({error}): after a power loss it may be gone, so check it then",
            code="NOT_SYNCED",
            path=destination,
        ) from error
    _delete(staged)  # after an exchange, what was at the destination


def refuse_existing(destination: str, overwrite: bool) -> None:
    """Raise `ArchiveExistsError` if there is something that may not be replaced."""
    if not os.path.lexists(destination):
        return
    if overwrite and not _may_be_archive(destination):
        raise ArchiveExistsError(
            f"{destination} is no archive, and overwriting would delete all that is in it: "
            "choose another name, or delete it yourself",
            code="NOT_AN_ARCHIVE",
            path=destination,
        )
    if not overwrite:
        raise ArchiveExistsError(
            f"{destination} exists already: choose another name, or pass overwrite=True "
            "(--overwrite), which keeps the old one until the new one is verified",
            path=destination,
        )


def _delete(path: str) -> None:
    """Remove a directory or file, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _may_be_archive(path: str) -> bool:
    """Whether deleting this loses an archive, also a damaged one, and nothing else."""
    if not os.path.isdir(path):
        return True
    names = os.listdir(path)
    return not names or "zarr.json" in names or manifests.KEY in names


def hidden_name(name: str) -> str:
    """Name of a folder in which this process builds an archive of a name; a new one each time."""
    return f".{name}.{host()}-{os.getpid()}-{secrets.token_hex(4)}.staging"


def is_hidden_staging(name: str) -> bool:
    """Whether a file name is that of an unfinished archive."""
    return name.startswith(".") and name.endswith((".staging", f".staging{_PACKED}"))


def _renameat2(source: str, destination: str, flags: int) -> None:
    """Linux's rename that either refuses to replace, or exchanges.

    Where the file system cannot (some network file systems), the steps are done one by one; then
    a crash between the two renames of an exchange leaves the old archive under the staging name
    with ``.old`` added, and the error of the next open says that the destination is missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is not None:
        arguments = _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(destination), flags
        if rename(*arguments) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise OSError(number, os.strerror(number), destination)
    if flags == _RENAME_NOREPLACE:
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), destination)
        os.rename(source, destination)
        return
    os.rename(destination, f"{source}.old")
    os.rename(source, destination)
    os.rename(f"{source}.old", source)


def remove_abandoned(folder: str, name: str = ".*") -> None:
    """Delete staging directories whose process on this host is gone.

    Args:
        folder: Where they are.
        name: Pattern of the names of their destinations.
    """
    pattern = re.compile(rf"\.{name}\.{re.escape(host())}-(\d+)-[0-9a-f]{{8}}\.staging(\.ozx)?")
    for entry in _entries(folder):
        match = pattern.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            with suppress(OSError):  # another process cleans up too
                _delete(str(entry))


def _entries(parent: str) -> Iterable[Path]:
    with suppress(OSError):
        return list(Path(parent).iterdir())
    return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_ended(pid)


def _is_ended(pid: int) -> bool:
    """Whether a process has ended, and only nobody asked yet how (proc(5), stat).

    Killed workers are left to the first process of the system, which in a container may take its
    time, or never ask.
    """
    with suppress(OSError):
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return status.rpartition(")")[2].split()[0] in ("Z", "X")
    return False


def host() -> str:
    """Name of this machine, as file names may hold it."""
    return re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname()) or "host"
