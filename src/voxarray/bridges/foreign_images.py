"""Images of other libraries where one of ours is expected; none of them is imported."""

from __future__ import annotations

import sys
from typing import Any

_KINDS = {
    "from_torchio": ("torchio", "Image"),
    "from_nibabel": ("nibabel.spatialimages", "SpatialImage"),
    "from_sitk": ("SimpleITK", "Image"),
}
"""Module and name of the class that each method takes."""


def require_no_image(name: str, value: Any) -> None:
    """Refuse an image that a subject would carry along as metadata, past every transform.

    Args:
        name: Of the field.
        value: What it should hold.

    Raises:
        TypeError: If it is an image of TorchIO, nibabel or SimpleITK.
    """
    for method, (module, kind) in _KINDS.items():
        theirs = getattr(sys.modules.get(module), kind, None)
        if isinstance(theirs, type) and isinstance(value, theirs):
            raise TypeError(
                f"the field {name!r} is a {type(value).__module__.partition('.')[0]} image, which "
                f"voxarray's transforms would not change: use vx.ScalarImage.{method}(image), or "
                f"vx.LabelMap.{method}(image)"
            )
