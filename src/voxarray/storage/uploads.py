"""Files on their way to a bucket: made on this machine's disk, put by one request."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from voxarray.core import settings
from voxarray.core.disk import refusal
from voxarray.core.error_messages import REPLACED_WITHOUT
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.hidden_folders import hidden_folder
from voxarray.storage.remote import retries
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import Body, WritableObjects

_SPOOL = "voxarray-upload"


@contextmanager
def spool() -> Iterator[str]:
    """A folder of this machine for what is on its way to a bucket; gone in the end.

    What processes that were killed have left is removed first. It is where the setting
    ``voxarray.download-directory`` says.
    """
    root = os.path.abspath(settings.get("download-directory") or tempfile.gettempdir())
    os.makedirs(root, exist_ok=True)
    with hidden_folder(root, _SPOOL) as lock:
        folder = os.path.join(lock.folder, "archive")
        os.mkdir(folder)
        yield folder


@contextmanager
def uploading(url: str, overwrite: bool) -> Iterator[str]:
    """Name of a local file to write, which becomes an object on success.

    The object is put by one request, which the store refuses if there is another by then.

    Raises:
        ArchiveExistsError: There is an object already, and ``overwrite`` is False; or somebody has
            put or changed one meanwhile.
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
        AccessDeniedError, TransportError: What the store refuses.
    """
    address = Address.parse(url)
    store, name = WritableObjects.at(address.parent.url), address.name
    before = store.stat(name)
    if before is not None and not overwrite:
        raise exists(url)
    try:
        with spool() as folder:
            local = os.path.join(folder, name)
            yield local
            put_new(store, name, body_of(local), before)
    except VoxarrayError:
        raise
    except OSError as error:
        raise refusal(error, url) from error


def refuse_existing(url: str, is_folder: bool) -> None:
    """Raise `ArchiveExistsError` if there is an object at a URL, or an archive of objects.

    Args:
        url: A place in a bucket.
        is_folder: Whether it will be an archive of several objects.
    """
    # An empty object is one, too.
    if size_of(f"{url}/manifest.json" if is_folder and not is_zip_name(url) else url) is not None:
        raise exists(url)


def size_of(url: str) -> int | None:
    """Bytes of an object, asked for now; None if there is none."""
    address = Address.parse(url)
    stamp = WritableObjects.at(address.parent.url).stat(address.name)
    return None if stamp is None else stamp.size


def exists(url: str) -> ArchiveExistsError:
    """The error of what is there and may not be replaced."""
    return ArchiveExistsError(
        f"{url} exists already: choose another name, or pass overwrite=True (--overwrite), which "
        f"keeps the old one until the new one is whole; a new archive is {REPLACED_WITHOUT}",
        path=url,
    )


def overtaken(url: str) -> ArchiveExistsError:
    """The error of who was slower."""
    return ArchiveExistsError(
        f"another object was put at {url} in the meantime, and is left as it is; choose another "
        "name, or try again with overwrite=True (--overwrite)",
        path=url,
    )


def body_of(path: str) -> Body:
    """The bytes of a file to put, mapped: they take no memory of this process."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def put_new(store: WritableObjects, key: str, data: Body, before: Stamp | None) -> Stamp | None:
    """Put an object instead of what was there before, and of nothing else.

    Returns:
        Its stamp; None if the answer was lost, and the object was found in its place.

    Raises:
        ArchiveExistsError: Something else is there now.
        AccessDeniedError, TransportError: What the store refuses.
    """
    for number in range(1, 1 + max(1, int(settings.get("remote-attempts")))):
        stamp = store.create(key, data) if before is None else store.replace(key, data, before)
        # What is there may be what an attempt has put whose answer was lost.
        if stamp is not None or store.holds(key, data):
            return stamp
        if store.stat(key) != before:
            break
        retries.pause(number)  # the store was of two minds: 409, and nothing has changed
    raise overtaken(store.objects.where(key))
