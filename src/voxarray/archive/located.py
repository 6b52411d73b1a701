"""From a path to the store that holds it, and the place inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voxarray.archive.manifest import is_published
from voxarray.archive.store import Store, TreeStore
from voxarray.archive.zip_store import ZipStore
from voxarray.errors import FormatError, MissingFileError
from voxarray.sources.base import FileIdentity

NODE_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files of which a Zarr group or array has at least one; the first is Zarr 3's."""


@dataclass(frozen=True, slots=True)
class Place:
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
    """The store at a path: a directory, or a zip file.

    Raises:
        MissingFileError: If there is nothing.
    """
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute):
        return TreeStore(absolute)
    if not os.path.exists(absolute):
        raise MissingFileError(f"there is no archive {absolute}", path=absolute)
    return ZipStore(FileIdentity.of(absolute))


def locate(path: str | os.PathLike[str]) -> Place:
    """The archive, or other Zarr hierarchy, at a path or above it.

    An archive begins where its manifest is; another hierarchy at its topmost group.

    Raises:
        MissingFileError: If there is nothing at the path.
        FormatError: If it is a folder that holds no Zarr (``NO_ARCHIVE``), or no zip file.
    """
    whole = Path(os.path.abspath(path))
    top = whole
    for folder in _upwards(whole):
        if folder.is_file():
            store = open_store(folder)
            return Place(store, _inside(whole, folder), is_published(store))
        if is_published(TreeStore(str(folder))):
            return Place(TreeStore(str(folder)), _inside(whole, folder), True)
        if _is_node(folder):
            top = folder
    if not whole.exists():
        raise MissingFileError(f"there is no archive {whole}", path=whole)
    if not _is_node(whole):
        raise FormatError(
            f"{whole} is a folder without zarr.json: no Zarr archive", code="NO_ARCHIVE", path=whole
        )
    return Place(TreeStore(str(top)), _inside(whole, top), False)


def _upwards(path: Path) -> Iterator[Path]:
    """A path and its parents as far as they can belong to one hierarchy."""
    for folder in (path, *path.parents):
        yield folder
        # Above a folder that is no node nothing can be known of this one. What does not exist may
        # be a place inside a file, or the name of a label map that is not there.
        if folder.is_file() or (folder.is_dir() and not _is_node(folder)):
            return


def _is_node(folder: Path) -> bool:
    return any((folder / name).is_file() for name in NODE_DOCUMENTS)


def _inside(path: Path, root: Path) -> str:
    inside = path.relative_to(root).as_posix()
    return "" if inside == "." else inside
