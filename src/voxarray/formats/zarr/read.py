"""Opening anything Zarr: ours strictly, everything else by the rules of its format."""

from __future__ import annotations

import os

from voxarray.archive.locate import ArchiveLocation, locate
from voxarray.archive.manifest import Manifest
from voxarray.archive.metadata import KEY
from voxarray.archive.source import open_place
from voxarray.formats.zarr.node import chain, require
from voxarray.source.base import Source


def open_zarr(path: str | os.PathLike[str]) -> Source:
    """The image in a directory or ``.ozx`` file, or at a place inside it.

    What voxarray wrote is read strictly. Without its manifest it was not finished, and is never
    read as if another program had written it.

    Raises:
        MissingFileError: There is nothing at the path.
        MissingDataError: An archive of ours has no manifest (``NO_MANIFEST``), or lacks a file.
        FormatError: It is no Zarr, damaged, or ambiguous; codes as in `open_archive` and in
            `voxarray.formats.zarr.third_party.open_third_party`.
    """
    return open_located(locate(path), os.path.abspath(path))


def open_located(location: ArchiveLocation, path: str) -> Source:
    """As `open_zarr`, for what was located already."""
    if location.is_ours:
        return open_place(location, path)
    nodes = chain(location.store, location.key)
    if any(KEY in node.attributes for node in nodes):
        Manifest.read(location.store)  # says that it is missing
    if not nodes or nodes[0].key != location.key:
        require(None, location.store, location.key)
    from voxarray.formats.zarr.third_party import (
        open_third_party,  # zarr-python: only where it is needed
    )

    return open_third_party(location.store, nodes, path)
