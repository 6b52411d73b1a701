"""Small files at local paths and in buckets alike, for whoever keeps both kinds of folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from voxarray.core import settings
from voxarray.core.disk import refusal, sync
from voxarray.core.errors import MissingFileError, VoxarrayError, is_absence, of_system
from voxarray.storage.atomic_write import atomic_write
from voxarray.storage.file_identity import refuse_special
from voxarray.storage.hidden_folders import hidden_folder
from voxarray.storage.remote.address import Address, is_url

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp
    from voxarray.storage.remote.writing import WritableObjects

_PIECE = 8 << 20

Put = Callable[[str, bytes], None]
"""What writes the bytes of a file at a path or URL."""


def read_file(path: str) -> bytes:
    """All bytes of a small file.

    Raises:
        FileNotFoundError: There is none.
        AccessDeniedError, TransportError: What the disk or the store refuses.
    """
    if not is_url(path):
        with open_file(path) as file:
            return file.read()
    store, key = _object(path)
    data = store.whole(key)
    if data is None:
        raise _missing(path)
    return data


def beginning_of(path: str, size: int) -> bytes:
    """The first bytes of a file; fewer if it has no more.

    Raises:
        FileNotFoundError: There is none.
        AccessDeniedError, TransportError: What the disk or the store refuses.
    """
    if not is_url(path):
        with open_file(path) as file:
            return file.read(size)
    store, key = _object(path)
    stamp = store.stat(key)
    if stamp is None:
        raise _missing(path)
    return store.objects.read(key, 0, min(size, stamp.size), stamp) if stamp.size else b""


def read_files(paths: Sequence[str]) -> Iterator[bytes]:
    """All bytes of small files, in order; objects are asked for side by side.

    Raises:
        FileNotFoundError: One of them is not there.
        AccessDeniedError, TransportError: What the disk or the store refuses.
    """
    if len(paths) < 2 or not is_url(paths[0]):
        yield from map(read_file, paths)
        return
    with ThreadPoolExecutor(max(1, int(settings.get("remote-requests")))) as threads:
        yield from threads.map(read_file, paths)


def side_by_side(place: str, *calls: Callable[[], Any]) -> list[Any]:
    """The results of calls, each of which waits for a store if the place is a URL.

    On a disk one comes after the other.

    Args:
        place: A path or URL at which they read or write.
        calls: Of which none depends on another.

    Raises:
        Exception: That of the first call that failed, after all have ended.
    """
    if not is_url(place):
        return [call() for call in calls]
    with ThreadPoolExecutor(len(calls)) as threads:
        answers = [threads.submit(call) for call in calls]
    return [answer.result() for answer in answers]


def open_file(path: str) -> BinaryIO:
    """A file, open for reading; of an object, a copy on this machine's disk that has no name.

    Raises:
        FileNotFoundError: There is none.
        AccessDeniedError, TransportError: What the disk or the store refuses.
    """
    if not is_url(path):
        try:
            return open(path, "rb")
        except OSError as error:
            raise of_system(error, path) from error
    store, key = _object(path)
    stamp = store.stat(key)
    if stamp is None:
        raise _missing(path)
    import tempfile

    copy: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # given away
    for start in range(0, stamp.size, _PIECE):
        copy.write(store.objects.read(key, start, min(_PIECE, stamp.size - start), stamp))
    copy.seek(0)
    return copy


def is_file(path: str) -> bool:
    """Whether there is a file at a path.

    Raises:
        AccessDeniedError, TransportError: What the disk or the store refuses: of a folder that may
            not be entered nobody can say that there is nothing in it.
    """
    if not is_url(path):
        try:
            return stat.S_ISREG(os.stat(path).st_mode)
        except OSError as error:
            if is_absence(error):
                return False
            raise of_system(error, path) from error
    store, key = _object(path)
    return store.stat(key) is not None


def names_in(folder: str) -> list[str]:
    """Names of files and folders in a folder, sorted; none where there is no folder.

    Raises:
        AccessDeniedError, TransportError: What the disk or the store refuses.
    """
    if is_url(folder):
        return _objects(folder).names()
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if is_absence(error):
            return []
        raise of_system(error, folder) from error


def make_folder(path: str) -> None:
    """Make a folder, and those above it; in a bucket there are none.

    Raises:
        ArchiveError: If writing fails.
    """
    if is_url(path):
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise refusal(error, path) from error


def write_if_other(path: str, data: bytes) -> None:
    """Write a small file in one step, unless one of the same bytes is there.

    Raises:
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
        UnsupportedError: A device, a pipe or a socket is there (``NOT_A_FILE``).
        AccessDeniedError, TransportError: What a store refuses.
    """
    if is_url(path):
        store, key = _object(path)
        if not store.holds(key, data):
            store.put(key, data)
        return
    try:
        refuse_special(path, os.stat(path).st_mode)  # reading it might never end
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refusal(error, path) from error
    with atomic_write(path, overwrite=True) as new:
        new.write(data)


def version_of(url: str) -> Stamp | None:
    """Size and version of an object, asked for now; None if there is none.

    Raises:
        AccessDeniedError, TransportError: What the store refuses.
    """
    store, key = _object(url)
    return store.stat(key)


def put_in_place_of(url: str, data: bytes, expected: Stamp | None) -> bool:
    """Put an object in the place of the one with this version, or of none; False if it is another.

    An object of the same bytes stays.

    Raises:
        AccessDeniedError, TransportError, UnsupportedError: What the store refuses.
    """
    store, key = _object(url)
    if expected is None:
        stamp = store.create(key, data)
    elif store.holds(key, data):
        return True
    else:
        stamp = store.replace(key, data, expected)
    # The answer to an upload may be lost: then the next attempt finds what this one has put.
    return stamp is not None or store.holds(key, data)


def create_file(path: str, data: bytes) -> bool:
    """Create a small file in one step if there is none; whether this was so.

    Of several processes that do so at once, one is told that it was. On a file system without hard
    links, each of them may be.

    Raises:
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
        AccessDeniedError, TransportError: What a store refuses.
    """
    if is_url(path):
        store, key = _object(path)
        return store.create(key, data) is not None
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with hidden_folder(folder, name) as lock:
            partial = os.path.join(lock.folder, name)
            with open(partial, "xb") as file:
                file.write(data)
            sync(partial)
            try:
                os.link(partial, path)
            except FileExistsError:
                return False
            except OSError:
                if os.path.lexists(path):
                    return False
                os.replace(partial, path)
        sync(folder)
    except OSError as error:
        if isinstance(error, VoxarrayError):
            raise
        raise refusal(error, path) from error
    return True


def remove_file(path: str) -> None:
    """Delete a file, if there is one.

    Raises:
        OSError: What the disk or the store refuses.
    """
    if is_url(path):
        store, key = _object(path)
        store.delete([key])
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def real_path(path: str) -> str:
    """A path without links; a URL as it is."""
    return path if is_url(path) else os.path.realpath(path)


def _missing(path: str) -> MissingFileError:
    return MissingFileError(f"there is no {path}: check the path", path=path)


def _object(url: str) -> tuple[WritableObjects, str]:
    address = Address.parse(url)
    return _objects(address.parent.url), address.name


def _objects(url: str) -> WritableObjects:
    # Not at the top: what reads a local folder need not load the client of buckets (7 ms).
    from voxarray.storage.remote.writing import WritableObjects

    return WritableObjects.at(url)
