"""Small stores as other programs write them, made with zarr-python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

LPS = {
    "x": "right-to-left",
    "y": "anterior-to-posterior",
    "z": "inferior-to-superior",
}
KINDS = {"t": "time", "c": "channel"}


def numbers(sizes: tuple[int, ...], dtype: str = "int16") -> NDArray:
    """Voxels that all differ."""
    return np.arange(np.prod(sizes)).reshape(sizes).astype(dtype)


def axes(
    names: str, unit: str | None = "millimeter", orientation: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """OME-Zarr's description of axes."""
    found = []
    for name in names:
        axis: dict[str, Any] = {"name": name, "type": KINDS.get(name, "space")}
        if unit and name in "xyz":
            axis["unit"] = unit
        if name == "t":
            axis["unit"] = "millisecond"
        if orientation and name in orientation:
            axis["orientation"] = {"type": "anatomical", "value": orientation[name]}
        found.append(axis)
    return found


def scaled(scale: list[float], translation: list[float] | None = None) -> list[dict[str, Any]]:
    """Transformations of a level, 0.4 and 0.5."""
    found: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    return found + ([{"type": "translation", "translation": translation}] if translation else [])


def ome(
    path: Path,
    levels: list[NDArray],
    image: dict[str, Any],
    version: str = "0.5",
    **arrays: Any,
) -> Path:
    """An OME-Zarr store with levels ``0``, ``1``, ...; ``image`` lacks only its paths."""
    old = version == "0.4"
    group = zarr.open_group(path, mode="w", zarr_format=2 if old else 3)
    add_image(group, levels, image, version, **arrays)
    return path


def add_image(
    group: Any, levels: list[NDArray], image: dict[str, Any], version: str, **arrays: Any
) -> None:
    names = [axis["name"] for axis in (image.get("axes") or image["coordinateSystems"][0]["axes"])]
    for number, (voxels, dataset) in enumerate(zip(levels, image["datasets"], strict=True)):
        dataset["path"] = str(number)
        named = {} if version == "0.4" else {"dimension_names": names}
        chunks = tuple(max(1, n // 2) for n in voxels.shape)
        array = group.create_array(
            str(number), shape=voxels.shape, dtype=voxels.dtype, chunks=chunks, **(named | arrays)
        )
        array[...] = voxels
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": version, **image}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}


def plain(path: Path, voxels: NDArray, names: list[str] | None, **arrays: Any) -> Path:
    """One array."""
    array = zarr.create_array(
        path, shape=voxels.shape, dtype=voxels.dtype, dimension_names=names, **arrays
    )
    array[...] = voxels
    return path
