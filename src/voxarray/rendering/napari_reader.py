"""What napari opens with voxarray: lazy, multiscale, exactly placed; named by ``napari.yaml``.

napari draws the last axes of an array: columns to the right and rows downwards. Layers have axes
(I, P, L) in millimetres, so that its axial view is radiological, right on the left and the front on
top, and first shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.source import is_label_map
from voxarray.core.label_colours import paint
from voxarray.formats.registry import open_source
from voxarray.nifti_header.fields import LABEL_INTENT
from voxarray.nifti_header.header import NiftiHeader
from voxarray.rendering.intensity_window import WITHOUT_OUTLIERS, intensity_window
from voxarray.rendering.overview import require_parts
from voxarray.rendering.planes import View, orthogonal
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.xarray_index.lazy import to_dask

AXES = ("I", "P", "L")
"""Where world coordinates grow to along the first, second and third axis of a layer.

The second runs down and the third to the right, in whatever order they are shown, so that the front
and the head are on top. In three dimensions the first runs towards who looks: with S, not I, a
volume was drawn as its mirror image."""

LayerData = tuple[Any, dict[str, Any], str]
"""Voxels of each level, keywords of the layer, and its kind, as napari takes them."""

_TO_LPI = np.diag([-1.0, -1.0, -1.0, 1.0])


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]]:
    """What napari calls to find out who opens a path: `read_layers`, which says what is wrong.

    Args:
        path: One path, or several.
    """
    del path  # patterns of the manifest have chosen
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Layers of a scan, or of an archive with its label maps; only the middle planes are read.

    Args:
        path: File, folder or archive, or several.

    Returns:
        Images and labels, each a dask array (D, H, W), or (C, D, H, W) of several channels; of a
        pyramid a list of them, the finest first.

    Raises:
        VoxarrayError: If it cannot be opened.
        MemoryBudgetError: For a file that is compressed as one piece, too large to be kept
            (``ONE_PIECE``).
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    return [layer for item in paths for layer in _layers(os.fspath(item))]


def _layers(path: str) -> list[LayerData]:
    source = open_source(path)
    labels = os.path.join(path, "labels")
    names = sorted(os.listdir(labels)) if os.path.isdir(labels) else []
    label_names = [name for name in names if os.path.isdir(os.path.join(labels, name))]
    return [
        _layer(source, _stem(path)),
        *(_layer(open_source(os.path.join(labels, name)), name) for name in label_names),
    ]


def _layer(source: Source, name: str) -> LayerData:
    require_parts(SlicedSource.of(source))
    levels = [source.level(number) if number else source for number in range(source.levels)]
    arrays = [_reversed(level) for level in levels]
    several = source.shape[0] > 1
    meta: dict[str, Any] = {
        "name": name,
        "affine": placement(source, several=several),
        "multiscale": len(levels) > 1,
        "axis_labels": ("C", *AXES) if several else AXES,
        "units": ("pixel", "mm", "mm", "mm") if several else ("mm",) * 3,
        "metadata": {"path": source.path, "affine": source.affine},
    }
    if not _is_labels(source):
        view = View(pixels=256)
        pixels = [plane.pixels for plane in orthogonal(source, view)]
        low, high = intensity_window(pixels, WITHOUT_OUTLIERS)
        meta["contrast_limits"] = (low, high if high > low else low + 1)
        return _data(arrays), meta, "image"
    table = source.label_table
    if table:
        names = {0: "background", **{label.value: label.name for label in table}}
        meta["features"] = {"index": [*names], "name": [*names.values()]}
        by_label = {
            float(label.value): label.colour[:3] for label in table if label.colour is not None
        }
        # 0 is transparent even if it has a name: it would hide the scan below.
        values = np.array([label.value for label in table if label.value != 0], np.int64)
        rgb = paint(values, by_label, over_scan=True) / 255
        colours: dict[int | None, Any] = {
            int(value): (*colour, 1.0) for value, colour in zip(values, rgb.tolist(), strict=True)
        }
        meta["colormap"] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), **colours}
    integers = [array if array.dtype.kind in "iu" else array.astype(np.int64) for array in arrays]
    return _data(integers), meta, "labels"


def _data(arrays: list[Any]) -> Any:
    """Of one level the array itself: a list of one is not always taken for levels."""
    return arrays if len(arrays) > 1 else arrays[0]


def _reversed(level: Source) -> Any:
    """A lazy array with axes in napari's order, without an axis of a single channel."""
    array = to_dask(level).transpose(0, 3, 2, 1)
    return array if level.shape[0] > 1 else array[0]


def placement(source: Source, *, several: bool = False) -> NDArray[np.float64]:
    """Affine from indices (D, H, W), or (C, D, H, W), to mm along `AXES`."""
    turned = [2, 1, 0, 3]
    affine: NDArray[np.float64] = (_TO_LPI @ source.affine)[np.ix_(turned, turned)]
    if not several:
        return affine
    matrix = np.eye(5)
    matrix[1:, 1:] = affine
    return matrix


def _is_labels(source: Source) -> bool:
    if is_label_map(source):
        return True
    header = source.nifti_header
    return header is not None and int(NiftiHeader.parse(header).record["intent_code"]) == (
        LABEL_INTENT
    )


def _stem(path: str) -> str:
    name = os.path.basename(os.path.normpath(path))
    return name.split(".")[0] or name
