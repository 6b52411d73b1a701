"""Opening the image behind a URL."""

from __future__ import annotations

from collections.abc import Callable

from voxarray.archive.locate import locate, place_in
from voxarray.core.errors import MissingFileError, UnsupportedError
from voxarray.formats.remote.downloaded import DownloadedSource
from voxarray.formats.remote.nifti import open_remote_nifti
from voxarray.formats.zarr.read import open_located
from voxarray.source.base import Source
from voxarray.storage.archive_suffixes import ZIP_SUFFIXES
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.file import RemoteFile
from voxarray.storage.remote.transport import objects_at
from voxarray.storage.remote.zarr_objects import ZarrObjects

_NIFTI = (".nii", ".nii.gz")


def open_url(
    url: str,
    suffix: str,
    is_known: bool,
    list_suffixes: Callable[[], list[str]],
    open_copy: Callable[[str], Source],
) -> Source:
    """The image behind a URL; of a ``.nii``, ``.nii.gz`` or archive nothing but metadata is read.

    Args:
        url: Anything that obstore or fsspec can reach.
        suffix: Of its path.
        is_known: Whether it is that of a format which comes with voxarray.
        list_suffixes: Gives the suffixes of all files that can be opened.
        open_copy: Opens the local copy of what cannot be read in parts.

    Raises:
        MissingFileError: There is nothing.
        AccessDeniedError: It may not be read.
        TransportError: No right answer after several attempts.
        FormatError: As for local files and archives.
    """
    address = Address.parse(url)
    if _is_archive(address):
        return open_located(locate(url), address.shown)
    if not is_known:
        every = list_suffixes()
        if suffix not in every:
            return _guessed(url, address, every)
    file = RemoteFile.of(objects_at(address.parent), address.name)
    with file.named_in_errors():
        if suffix in _NIFTI:
            return open_remote_nifti(file, open_copy)
        return DownloadedSource.open(file, open_copy)


def open_store_object(store: object) -> Source:
    """The image at the root of a ``zarr.abc.store.Store``; ours are read strictly."""
    objects = ZarrObjects(store)
    return open_located(place_in(objects), objects.shown)


def _is_archive(address: Address) -> bool:
    endings = (".zarr", *ZIP_SUFFIXES)
    return any(part.lower().endswith(endings) for part in address.path.split("/"))


def _guessed(url: str, address: Address, suffixes: list[str]) -> Source:
    """A Zarr hierarchy whose name does not say so."""
    try:
        return open_located(locate(url), address.shown)
    except UnsupportedError as error:
        if error.code != "NO_NODE":
            raise
    objects = objects_at(address)
    if objects.is_folder():
        raise UnsupportedError(
            f"{address.shown} is a folder of a store, not an image, and series of files cannot "
            "be read from a store: give the URL of one image in it, or convert what is in it to a "
            "cohort",
            code="REMOTE_FOLDER",
            path=address.shown,
        )
    try:
        RemoteFile.of(objects_at(address.parent), address.name)
    except MissingFileError:
        raise MissingFileError(
            f"there is neither a file nor a Zarr group or array {address.shown}: check the address",
            path=address.shown,
        ) from None
    raise UnsupportedError(
        f"the format of {address.shown} is unknown: known suffixes are {', '.join(suffixes)}",
        code="UNKNOWN_SUFFIX",
        path=address.shown,
    )
