"""From a path to the store that holds it, and the place inside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from voxarray.archive import manifest as manifests
from voxarray.archive.manifest import is_published
from voxarray.archive.metadata import IMAGE, NODE_DOCUMENTS, level_name
from voxarray.core.errors import (
    AccessDeniedError,
    FormatError,
    MissingFileError,
    is_absence,
    naming_errors_of_system,
    of_system,
)
from voxarray.storage.archive_suffixes import HIERARCHY_SUFFIX, ZIP_SUFFIXES
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.store import Store, TreeStore
from voxarray.storage.zip_store import ZipStore

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Objects


@dataclass(frozen=True, slots=True)
class ArchiveLocation:
    """A node in a store.

    Attributes:
        store: The files.
        key: Folder of the node, without slashes at its ends; empty for the root.
        is_ours: Whether the root has a manifest: what voxarray published is read strictly.
    """

    store: Store
    key: str
    is_ours: bool

    @property
    def prefix(self) -> str:
        """What the keys of the node's files start with."""
        return f"{self.key}/" if self.key else ""


def open_store(path: str | os.PathLike[str]) -> Store:
    """The store at a path: a directory, a zip file, or the like behind a URL.

    Raises:
        MissingFileError: If there is nothing.
    """
    if is_url(path):
        location = _remote(Address.parse(str(path)))
        return location.store
    absolute = os.path.abspath(path)
    try:
        status = os.stat(absolute)
    except OSError as error:
        if is_absence(error):
            raise MissingFileError(
                f"there is no archive {absolute}: check the path", path=absolute
            ) from None
        raise of_system(error, absolute) from error
    if stat.S_ISDIR(status.st_mode):
        return TreeStore(absolute)
    return ZipStore(FileIdentity.of(absolute))


def locate(path: str | os.PathLike[str]) -> ArchiveLocation:
    """The archive, or other Zarr hierarchy, at a path or URL or above it.

    An archive begins where its manifest is; another hierarchy at its topmost group.

    Raises:
        MissingFileError: If there is nothing at the path.
        FormatError: If it is a folder that holds no Zarr (``NO_ARCHIVE``), or no zip file.
    """
    if is_url(path):
        return _remote(Address.parse(str(path)))
    absolute = Path(os.path.abspath(path))
    with naming_errors_of_system(str(absolute)):
        return _locate(absolute)


def _locate(absolute: Path) -> ArchiveLocation:
    top = absolute
    for folder in _upwards(absolute):
        if folder.is_file():
            store = open_store(folder)
            return ArchiveLocation(store, _inside(absolute, folder), is_published(store))
        if is_published(TreeStore(str(folder))):
            return ArchiveLocation(TreeStore(str(folder)), _inside(absolute, folder), True)
        if _is_node(folder):
            top = folder
    if not absolute.exists():
        raise MissingFileError(f"there is no archive {absolute}: check the path", path=absolute)
    if not _is_node(absolute):
        raise FormatError(
            f"{absolute} is a folder without zarr.json, so it is not a Zarr archive: give the path "
            "of an archive (.ome.zarr, .nii.zarr)",
            code="NO_ARCHIVE",
            path=absolute,
        )
    return ArchiveLocation(TreeStore(str(top)), _inside(absolute, top), False)


def locate_root(path: str) -> ArchiveLocation:
    """As `locate`, but only for an archive itself, not for a path inside one.

    Raises:
        FormatError: Also if the path lies in an archive (``NOT_AN_ARCHIVE``).
    """
    location = locate(path)
    if location.key:
        raise FormatError(
            f"{path} lies in the archive {location.store.path}: give the path of that archive",
            code="NOT_AN_ARCHIVE",
            path=path,
        )
    return location


def place_in(objects: Objects, key: str = "") -> ArchiveLocation:
    """The node at a key of a store whose root is the prefix of these objects."""
    from voxarray.archive.remote_store import RemoteTree
    from voxarray.storage.remote.transport import usable

    store = RemoteTree(objects)
    start = f"{key}/" if key else ""
    documents = (manifests.KEY, f"{start}zarr.json", f"{start}{level_name(0)}/{IMAGE}/zarr.json")
    usable(objects).prefetch(documents)
    return ArchiveLocation(store, key, is_published(store))


def _remote(address: Address) -> ArchiveLocation:
    """The node at a URL.

    The store begins at the folder whose name ends in ``.zarr``, or at the file that ends in
    ``.ozx``. If there is none, it begins at the topmost Zarr group above the URL.
    """
    from voxarray.archive.remote_store import RemoteZip
    from voxarray.storage.remote.file import RemoteFile
    from voxarray.storage.remote.transport import objects_at

    parts = address.path.split("/")
    for number in range(len(parts), 0, -1):
        root = replace(address, path="/".join(parts[:number]))
        inside = "/".join(parts[number:])
        if root.name.lower().endswith(ZIP_SUFFIXES):
            store = RemoteZip(RemoteFile.of(objects_at(root.parent), root.name))
            return ArchiveLocation(store, inside, is_published(store))
        if root.name.lower().endswith(HIERARCHY_SUFFIX):
            return place_in(objects_at(root), inside)
    number = len(parts)
    while number > 1 and _is_remote_node(replace(address, path="/".join(parts[: number - 1]))):
        number -= 1
    root = replace(address, path="/".join(parts[:number]))
    return place_in(objects_at(root), "/".join(parts[number:]))


def _is_remote_node(address: Address) -> bool:
    from voxarray.archive.remote_store import RemoteTree
    from voxarray.storage.remote.transport import objects_at

    store = RemoteTree(objects_at(address))
    try:
        return any(name in store for name in NODE_DOCUMENTS)
    except AccessDeniedError:  # the user may have rights for the archive only, not for its parents
        return False


def _upwards(path: Path) -> Iterator[Path]:
    """A path and its parents as far as they can belong to one hierarchy."""
    for folder in (path, *path.parents):
        yield folder
        # A hierarchy has no gaps: it ends below the first folder that is no node. A path that does
        # not exist is no gap: it may lie inside a zip file, or name a label map that is missing.
        if folder.is_file() or (folder.is_dir() and not _is_node(folder)):
            return


def _is_node(folder: Path) -> bool:
    return any((folder / name).is_file() for name in NODE_DOCUMENTS)


def _inside(path: Path, root: Path) -> str:
    inside = path.relative_to(root).as_posix()
    return "" if inside == "." else inside
