"""Facts that an archive stores several times, for several readers, and that must agree.

The affine of an image stands in our own attributes, and again in OME-Zarr's scale and translation,
in the coordinates and in the NIfTI header, for readers that do not know our attributes. Digests
cannot find a contradiction: a wrong value that was written has a valid digest, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from voxarray.archive import axis_positions, handle_cache
from voxarray.archive.chunk_statistics import LABEL_COUNTS, WEIGHT_SUMS
from voxarray.archive.metadata import NIFTI, level_name
from voxarray.archive.source import ArchiveSource
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError
from voxarray.counting.cells import COLUMNS
from voxarray.geometry.coordinates import PLACED_BY_ROOT, WORLD_NAME, world_of
from voxarray.geometry.grid import Grid
from voxarray.geometry.lattice import DIMS, Placement
from voxarray.geometry.layout import coarser
from voxarray.nifti_header.header import NiftiHeader

Contradiction = tuple[str, str]
"""Key of a document, and the text of the contradiction."""

_COORDINATES = (*DIMS, WORLD_NAME)

_PLACED = {"coordinates": None, **PLACED_BY_ROOT}
"""Attributes of the voxels of a level without coordinates, of which it has the second."""

_BESIDE = {"coordinates": WORLD_NAME, **dict.fromkeys(PLACED_BY_ROOT)}
"""The same of a level that has coordinates, of which it has the first."""

_TOLERANCE = 1e-9
"""Relative; and absolute in the unit of the number, which is mm or seconds."""

_SINGLE = np.finfo(np.float32)
"""The numbers in the NIfTI header."""


def contradictions(image: ArchiveSource) -> Iterator[Contradiction]:
    """What does not agree in the documents of one image.

    Args:
        image: Its base level.

    Raises:
        VoxarrayError: If a document is missing, damaged or not what it should be.
    """
    yield from _of_ome(image)
    before: ArchiveSource | None = None
    for number in range(image.levels):
        level = image.level(number)
        yield from _of_array(level, before)
        yield from _of_frame(level)
        before = level
    yield from _of_header(image)
    yield from _of_tables(image)


def of_labels(base: ArchiveSource, names: list[str]) -> Iterator[Contradiction]:
    """What does not agree between an image and OME-Zarr's list of its label maps.

    Args:
        base: The image.
        names: Of the label maps that there are.
    """
    key = f"{base.prefix}labels/zarr.json"
    if not names:
        return
    listed_names = _within(_attributes(base, key), "ome", "labels")
    if not isinstance(listed_names, list) or sorted(map(str, listed_names)) != names:
        yield key, f"lists the label maps {listed_names!r:.200}, but the archive has {names}"


def of_layer(base: ArchiveSource, layer: ArchiveSource) -> Iterator[Contradiction]:
    """What does not agree between an image and one of its label maps."""
    if layer.image.kind != "label":
        yield f"{layer.prefix}zarr.json", f"says that the label map is of kind {layer.image.kind!r}"
    if not layer.grid_of_level.isclose(base.grid_of_level):
        text = f"places the label map on {layer.grid_of_level}, but the image has "
        text += f"{base.grid_of_level}"
        yield f"{layer.prefix}zarr.json", text


def _of_ome(image: ArchiveSource) -> Iterator[Contradiction]:
    key = f"{image.prefix}zarr.json"
    attributes = _attributes(image, key)
    expected = image.image.attributes(image.grid_of_level.shape, of_image=bool(image.prefix))
    for name in ("axes", "datasets"):
        path = ("ome", "multiscales", 0, name)
        stored, derived = _within(attributes, *path), _within(expected, *path)
        if not _agree(stored, derived):
            yield (
                key,
                f"has the OME-Zarr {name} {stored!r:.300}, but voxarray's own metadata give "
                f"{derived!r:.300}",
            )


def _of_array(level: ArchiveSource, finer: ArchiveSource | None) -> Iterator[Contradiction]:
    key = f"{level.array.key}/zarr.json"
    document, array, image = _document(level, key), level.array, level.image
    names = [image.axis, "z", "y", "x"]
    if document.get("dimension_names") != names:
        yield key, f"names the dimensions {document.get('dimension_names')!r:.80}, not {names}"
    if not _may_present(array.dtype, np.dtype(image.dtype), image.scaling is not None):
        yield key, f"stores {array.dtype}, but the image has the type {image.dtype}"
    packed = tuple(_within(document, "attributes", name) for name in ("scale_factor", "add_offset"))
    scaling = image.scaling
    expected = (None, None) if scaling is None else (scaling.slope, scaling.intercept)
    if not _agree(list(packed), list(expected)):
        yield key, f"has the scaling {packed}, but the image has {expected}"
    if finer is None:
        return
    if array.dtype != finer.array.dtype:
        yield key, f"stores {array.dtype}, but the next finer level stores {finer.array.dtype}"
    layout = coarser(finer.array.layout, image.factors[level.number - 1])
    if array.layout != layout:
        yield (
            key,
            f"has the layout {array.layout}, but should have {layout}, to fit the next finer level",
        )


def _may_present(stored: np.dtype, presented: np.dtype, is_scaled: bool) -> bool:
    """Whether an image of one type can be stored as numbers of another type."""
    if stored == presented or (presented.kind == "b" and stored == np.uint8):
        return True
    # Integers of a file with a scaling, which was applied by the writer or is left to the reader.
    return presented.kind == "f" and stored.kind in "iu" and (is_scaled or stored.itemsize <= 4)


def _of_frame(level: ArchiveSource) -> Iterator[Contradiction]:
    grid = level.grid_of_level
    placement = Placement.of_affine(grid.affine, grid.shape)
    folder = f"{level.prefix}{level_name(level.number)}"
    files = handle_cache.manifest(level.store, level.opened).files
    missing = _missing_coordinates(folder, files)
    if missing:
        yield from _of_level_without(missing, level)
        return
    yield from _of_marks(level, _BESIDE)
    for axis, name in enumerate(DIMS):
        expected = placement.positions(axis)
        key = axis_positions.key_of(f"{folder}/{name}", files)
        document = _document(level, f"{folder}/{name}/zarr.json")
        values = axis_positions.decoded(_bytes(level, key), document, expected.size)
        if values is None or not _all_close(values, expected):
            yield key, f"has positions that differ from those of the affine of {folder}"
        should = axis_positions.misfits(document, key, expected.size, name)
        stated = {entry: document.get(entry) for entry in should}
        units = _within(document, "attributes", "units")
        if units != "mm":
            should["units"], stated["units"] = "mm", units
        if should:
            text = f"has {stated!r:.300}, but should have {should!r:.300}"
            yield f"{folder}/{name}/zarr.json", text
        step = _within(document, "attributes", "step")
        if not _agree(step, placement.step(axis)):
            yield (
                f"{folder}/{name}/zarr.json",
                f"has steps of {step!r:.40} mm, but those of the affine are {placement.step(axis)}",
            )
    key = f"{folder}/{WORLD_NAME}/zarr.json"
    try:
        world = world_of(_attributes(level, key))
    except (KeyError, TypeError, ValueError) as error:
        yield key, f"does not say where the voxel axes point ({error})"
        return
    if not _all_close(world, placement.lattice.world):
        yield key, f"has the directions {world.tolist()}, which are not those of the affine"


def _missing_coordinates(folder: str, keys: Iterable[str]) -> list[str]:
    """Coordinates of which no file is in the folder of a level."""
    start = f"{folder}/"
    stored = {key[len(start) :].partition("/")[0] for key in keys if key.startswith(start)}
    return [name for name in _COORDINATES if name not in stored]


def _of_level_without(missing: Sequence[str], level: ArchiveSource) -> Iterator[Contradiction]:
    """Of a level that lacks coordinates; a coarse one may lack all, if it says what places it."""
    if level.number == 0 or len(missing) < len(_COORDINATES):
        allowed = "the base level must have all" if level.number == 0 else "a level has all or none"
        yield (
            f"{level.prefix}{level_name(level.number)}/zarr.json",
            f"lacks the coordinates {missing}, but {allowed} of {list(_COORDINATES)}",
        )
        return
    yield from _of_marks(level, _PLACED)


def _of_marks(level: ArchiveSource, expected: Mapping[str, str | None]) -> Iterator[Contradiction]:
    """What the voxels say of where their place is stored."""
    key = f"{level.array.key}/zarr.json"
    stated = {name: _within(_attributes(level, key), name) for name in expected}
    if stated != expected:
        held = "no coordinates" if expected is _PLACED else "coordinates"
        told = f"expected {dict(expected)}, since the level has {held}"
        yield key, f"has the attributes {stated}: {told}"


def _of_header(image: ArchiveSource) -> Iterator[Contradiction]:
    original = image.original_header
    if original is None:
        return
    key, header = f"{image.prefix}{NIFTI}/c/0", NiftiHeader.parse(original.raw)
    if header.shape != image.shape:
        yield key, f"states the shape {header.shape}, but the image has {image.shape}"
        return
    stored = header.stored.newbyteorder("=")
    if stored != image.array.dtype:
        yield key, f"states the type {stored}, but {image.array.dtype} is stored"
    grid = image.grid_of_level
    # Far from the origin, or where axes are nearly parallel, what single precision holds of the
    # affine may be more than a thousandth of a voxel away; the header cannot say it better.
    is_rounded = np.allclose(header.affine, grid.affine, rtol=_SINGLE.eps, atol=_SINGLE.tiny)
    if not is_rounded and not Grid(grid.shape, header.affine).isclose(grid):
        yield key, f"has the affine {header.affine.tolist()}, which is not that of the image"


def _of_tables(image: ArchiveSource) -> Iterator[Contradiction]:
    n, z, y, x = image.array.layout.shape
    edge = list(image.array.layout.chunk[:0:-1])
    files = handle_cache.manifest(image.store, image.opened).files
    for name in (LABEL_COUNTS, WEIGHT_SUMS):
        key = f"{image.prefix}{name}/zarr.json"
        if key in files:
            cell = _within(_attributes(image, key), "cell")
            if cell != edge:
                yield (
                    key,
                    f"has a row for each block of {cell!r:.80} voxels, but should have a row for "
                    f"each chunk, of {edge} voxels",
                )
    key = f"{image.prefix}{LABEL_COUNTS}/c/0/0"
    if key in files:
        columns = len(COLUMNS)
        table = _values(image, key, "<i8")
        total = int(table[columns - 1 :: columns].sum()) if table.size % columns == 0 else -1
        if total != math.prod((n, z, y, x)):
            yield key, f"counts {total} voxels, but the image has {math.prod((n, z, y, x))}"


def _document(image: ArchiveSource, key: str) -> Mapping[str, Any]:
    """A document of the archive.

    Raises:
        FormatError: If it is not a JSON object (``BAD_METADATA``).
    """
    try:
        document = json.loads(handle_cache.document(image.store, image.opened, key))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        document = None
    if not isinstance(document, dict):
        raise FormatError(
            f"{key} of {image.store.path} is not a JSON object: restore the archive, or "
            f"{MAKE_AGAIN}",
            code="BAD_METADATA",
            path=image.path,
        )
    return document


def _attributes(image: ArchiveSource, key: str) -> Any:
    return _document(image, key).get("attributes")


def _bytes(image: ArchiveSource, key: str) -> bytes:
    return handle_cache.document(image.store, image.opened, key)


def _values(image: ArchiveSource, key: str, dtype: str) -> Any:
    """The numbers in the only chunk of a small array, without its crc32c."""
    raw = _bytes(image, key)[:-4]
    size = np.dtype(dtype).itemsize
    return np.frombuffer(raw[: len(raw) // size * size], dtype)


def _within(document: Any, *keys: str | int) -> Any:
    """What stands at a place in a document; None where there is no such place."""
    for key in keys:
        try:
            document = document[key]
        except (IndexError, KeyError, TypeError):
            return None
    return document


def _agree(stored: Any, expected: Any) -> bool:
    """Whether two documents agree; numbers to a relative 1e-9."""
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        is_number = isinstance(stored, (int, float)) and not isinstance(stored, bool)
        return is_number and math.isclose(stored, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if isinstance(expected, Mapping):
        return (
            isinstance(stored, Mapping)
            and stored.keys() == expected.keys()
            and all(_agree(stored[key], value) for key, value in expected.items())
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(stored, list)
            and len(stored) == len(expected)
            and all(_agree(a, b) for a, b in zip(stored, expected, strict=True))
        )
    return bool(stored == expected)


def _all_close(stored: Any, expected: Any) -> bool:
    return bool(np.allclose(stored, expected, rtol=_TOLERANCE, atol=1e-6))
