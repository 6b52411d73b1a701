"""The public face of a scan: `Image`, `ScalarImage` and `LabelMap`."""

from __future__ import annotations

from voxarray.image.image import Image
from voxarray.image.label_map import LabelMap
from voxarray.image.scalar_image import ScalarImage

__all__ = ["Image", "LabelMap", "ScalarImage"]
