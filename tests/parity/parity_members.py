"""What is asked of an image of either package, as values that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk

SIDES = ("Left", "right", "A", "posterior", "Inferior", "S", "top", "Bottom")


def _itk(image: Any) -> Any:
    itk = image.as_sitk(force_3d=True)
    return (
        sitk.GetArrayFromImage(itk),
        itk.GetSpacing(),
        itk.GetOrigin(),
        itk.GetDirection(),
        itk.GetPixelIDTypeAsString(),
    )


UNREAD: dict[str, Callable[[Any], Any]] = {
    "shape": lambda i: i.shape,
    "spatial_shape": lambda i: i.spatial_shape,
    "width": lambda i: i.width,
    "height": lambda i: i.height,
    "affine": lambda i: i.affine,
    "orientation": lambda i: i.orientation,
    "orientation_str": lambda i: i.orientation_str,
    "direction": lambda i: i.direction,
    "spacing": lambda i: i.spacing,
    "origin": lambda i: i.origin,
    "bounds": lambda i: i.bounds,
    "get_bounds": lambda i: [sorted(pair) for pair in i.get_bounds()],
    "get_center": lambda i: i.get_center(),
    "get_center(lps)": lambda i: i.get_center(lps=True),
    "axis_name_to_index": lambda i: [i.axis_name_to_index(side) for side in SIDES],
    "flip_axis": lambda i: [i.flip_axis(side) for side in SIDES],
    "type": lambda i: i.type,
    "path": lambda i: i.path,
    "stem": lambda i: i["stem"],
    "['path']": lambda i: i["path"],
    "num_channels": lambda i: i.num_channels,
    "itemsize": lambda i: i.itemsize,
    "memory": lambda i: i.memory,
}
"""Members that TorchIO may load for, and voxarray does not."""

READ: dict[str, Callable[[Any], Any]] = {
    "data": lambda i: i.data.numpy(),
    "tensor": lambda i: str(i.tensor.dtype),
    "numpy": lambda i: i.numpy(),
    "array": lambda i: np.asarray(i),
    "slice": lambda i: i[1:4, 2:].data.numpy(),
    "slice affine": lambda i: i[1:4, 2:].affine,
    "slice of one": lambda i: i[2].spatial_shape,
    "as_sitk": _itk,
    "as_pil": lambda i: np.asarray(i.as_pil()),
    "as_pil(False)": lambda i: np.asarray(i.as_pil(transpose=False)),
    "data is tensor": lambda i: i.data is i.tensor and i.data is i["data"],
    "unload": lambda i: (i.unload(), i.get("data")),
}

LABELS: dict[str, Callable[[Any], Any]] = {
    "count_nonzero": lambda i: i.count_nonzero(),
    "count_labels": lambda i: i.count_labels(),
}


def answer(ask: Callable[[Any], Any], image: Any) -> Any:
    """What a member says, or which built-in error it raises."""
    try:
        return ask(image)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return "RuntimeError" if isinstance(error, RuntimeError) else "refused"


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, millimetres to a millionth."""
    if isinstance(one, (dict, str)) or one is None:
        return bool(one == other)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (np.ndarray, float)):
        a, b = np.asarray(one), np.asarray(other)
        close = {"rtol": 1e-6, "atol": 2e-6} if a.dtype.kind == "f" else {"rtol": 0, "atol": 0}
        return a.shape == b.shape and bool(np.allclose(a, b, **close))
    return bool(one == other)
