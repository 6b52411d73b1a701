"""The members of an image that are transforms: each makes a lazy image and reads nothing.

Transforms are made of images, so they are looked up by name when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self


class PreprocessingMixin:
    """An image that can be brought onto another grid."""

    def to_canonical(self) -> Self:
        """The image with axes that run to the right, to the front and up; as `ToCanonical`."""
        return self._transformed("ToCanonical")

    def to_orientation(self, orientation: str = "RAS") -> Self:
        """The image with axes in given directions, such as ``"LPS"``; as `ToOrientation`."""
        return self._transformed("ToOrientation", orientation)

    def resample(self, target: Any = 1, **kwargs: Any) -> Self:
        """The image on another grid, interpolated (label maps: nearest neighbours); as `Resample`.

        Integer images stay integers: interpolated values are truncated toward zero.

        Args:
            target: Spacing in mm, or an image, its path, a `Grid`, or a pair of shape and affine.
            **kwargs: As for `Resample`: ``image_interpolation``, ``antialias``...
        """
        return self._transformed("Resample", target, **kwargs)

    def resize(self, target_shape: Any, **kwargs: Any) -> Self:
        """The image with another number of voxels in the same field of view; as `Resize`.

        Integer images stay integers: interpolated values are truncated toward zero.
        """
        return self._transformed("Resize", target_shape, **kwargs)

    def crop(self, cropping: Any) -> Self:
        """The image without voxels at the ends of its axes; as `Crop`."""
        return self._transformed("Crop", cropping)

    def pad(self, padding: Any, padding_mode: str | float = 0) -> Self:
        """The image with more voxels at the ends of its axes; as `Pad`."""
        return self._transformed("Pad", padding, padding_mode)

    def crop_or_pad(self, target_shape: Any, padding_mode: str | float = 0, **kwargs: Any) -> Self:
        """The image cropped or padded to a shape around its middle; as `CropOrPad`."""
        return self._transformed("CropOrPad", target_shape, padding_mode, **kwargs)

    def _transformed(self, name: str, *args: Any, **kwargs: Any) -> Self:
        transform = getattr(import_module("voxarray.transforms"), name)(*args, **kwargs)
        result: Self = transform(self)
        return result
