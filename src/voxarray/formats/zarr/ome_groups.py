"""Which image an OME-Zarr group means: one of several multiscales, of series, of wells and fields.

Only what has ``multiscales`` is an image; other groups beside it, such as ``OME`` of
bioformats2raw, hold metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats.zarr.node import Node
from voxarray.storage.store import Store

Json = Mapping[str, Any]

COLLECTIONS = frozenset({"plate", "well", "bioformats2raw.layout"})
"""Keys of the metadata of a group that collects images."""

_FIRST_WITH_GEOMETRY, _FIRST_WITH_AXES = (0, 4), (0, 3)
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?!\d)")


def is_image(group: Node) -> bool:
    """Whether a group holds a multiscale image."""
    images = group.ome.get("multiscales")
    return isinstance(images, list) and len(images) > 0


def only(group: Node, path: str) -> Json:
    """The only multiscale of a group.

    Raises:
        UnsupportedError: There are several (``MULTIPLE_IMAGES``).
    """
    images = group.ome["multiscales"]
    if len(images) != 1:
        names = [image.get("name", n) for n, image in enumerate(images)]
        levels = [image["datasets"][0]["path"] for image in images]
        raise UnsupportedError(
            f"{path} holds {len(images)} multiscale images, {names}: give the path of the array of "
            f"a level, for example {path}/{levels[0]}",
            code="MULTIPLE_IMAGES",
            path=path,
        )
    image: Json = images[0]
    return image


def image_with(group: Node, level: str, path: str) -> Json | None:
    """The multiscale of a group in which an array is a level; None if it is in none.

    Raises:
        UnsupportedError: It is in several that differ (``MULTIPLE_IMAGES``).
        FormatError: ``BAD_METADATA``.
    """
    try:
        images: list[Json] = [
            image
            for image in group.ome["multiscales"]
            if level in (dataset["path"].strip("/") for dataset in image["datasets"])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad(path, error) from error
    if not images:
        return None
    if any(_geometry(other) != _geometry(images[0]) for other in images):
        raise UnsupportedError(
            f"{level} is a level of {len(images)} multiscale images of {group.key or '/'}, which "
            "describe it differently: keep one of them",
            code="MULTIPLE_IMAGES",
            path=path,
        )
    return images[0]


def _geometry(image: Json) -> list[Any]:
    keys = ("axes", "datasets", "coordinateSystems", "coordinateTransformations", "version")
    return [image.get(key) for key in keys]


def has_geometry(image: Json, group: Node, path: str) -> bool:
    """Whether the version of an image says where its voxels are, as 0.4 was the first to do.

    Raises:
        FormatError: The version is none (``BAD_METADATA``).
    """
    return _version(image, group, path) >= _FIRST_WITH_GEOMETRY


def axes_before_geometry(image: Json, group: Node, path: str) -> Sequence[str] | None:
    """Names of the axes by versions without geometry: 0.3 lists them, before they were fixed."""
    if _version(image, group, path) < _FIRST_WITH_AXES:
        return tuple("tczyx")
    axes = image.get("axes")
    if isinstance(axes, list) and all(isinstance(axis, str) for axis in axes):
        return tuple(axes)
    return None


def require_geometry(image: Json, group: Node, path: str) -> None:
    """Refuse versions that say nothing of where voxels are.

    Raises:
        UnsupportedError: ``OME_VERSION``.
        FormatError: ``BAD_METADATA``.
    """
    if not has_geometry(image, group, path):
        version = ".".join(map(str, _version(image, group, path)))
        raise UnsupportedError(
            f"this is OME-Zarr {version}, which does not say where voxels are: open the array of "
            f"a level, such as {path}/{image['datasets'][0]['path']}, and set its affine",
            code="OME_VERSION",
            path=path,
        )


def _version(image: Json, group: Node, path: str) -> tuple[int, int]:
    """Major and minor number, without what follows them in ``0.6rc0`` and ``0.5-dev``."""
    text = str(image.get("version") or group.ome.get("version") or "0.4").strip()
    match = _VERSION.match(text)
    if match is None:
        raise FormatError(
            f"the version of OME-Zarr is {text[:40]!r}: expected one such as 0.5; repair it",
            code="BAD_METADATA",
            path=path,
        )
    return int(match[1]), int(match[2])


def collected(store: Store, group: Node, path: str) -> list[str]:
    """Paths, below a group, of the images that it collects.

    Of a plate these are the fields of its first well, and the wells after it.

    Raises:
        FormatError: The metadata are not those of a collection (``BAD_METADATA``).
    """
    try:
        if "plate" in group.ome:
            return _of_plate(store, group)
        if "well" in group.ome:
            return [str(image["path"]).strip("/") for image in group.ome["well"]["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad(path, error) from error
    return _of_series(store, group)


def _of_plate(store: Store, plate: Node) -> list[str]:
    first, *others = [str(well["path"]).strip("/") for well in plate.ome["plate"]["wells"]] or [""]
    well = Node.read(store, plate.below(first))
    fields = well.ome["well"]["images"] if first and well is not None else []
    return [f"{first}/{str(field['path']).strip('/')}" for field in fields] + others


def _of_series(store: Store, group: Node) -> list[str]:
    """Series of bioformats2raw: as its group ``OME`` lists them, else all groups with an image."""
    listing = Node.read(store, group.below("OME"))
    series = None if listing is None else listing.ome.get("series")
    if isinstance(series, list) and series and all(isinstance(name, str) for name in series):
        return [name.strip("/") for name in series]
    return [node.name for node in group.children(store) if is_image(node)]


def _bad(path: str, error: Exception) -> FormatError:
    return FormatError(
        f"{path} does not have the metadata of OME-Zarr ({error!r}): repair its attributes",
        code="BAD_METADATA",
        path=path,
    )
