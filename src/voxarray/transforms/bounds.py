"""Transforms that add or remove voxels at the ends of the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import SelectionError
from voxarray.geometry.selection import Shape3
from voxarray.image import Image
from voxarray.ops.padding import checked_mode
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.padded import padded
from voxarray.subject import Subject, same_geometry
from voxarray.transforms.transform import SpatialTransform

Bounds = int | Sequence[int]
Six = tuple[int, int, int, int, int, int]


class Crop(SpatialTransform):
    """Remove voxels at the ends of the axes: a slice, which reads nothing.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.Crop(4)(scan).shape
        (1, 56, 48, 40)

    Args:
        cropping: Voxels to remove at the ends of W, H and D: six numbers (two for each axis), three
            (one for both ends of each axis), or one for all.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For invalid numbers, and if nothing would be left.

    Warns:
        VoxarrayWarning: If images of a subject are on different grids, so that something else is
            removed from each (``GRIDS_DIFFER``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("cropping",)

    def __init__(self, cropping: Bounds, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = cropping
        self.bounds_parameters = six_bounds(cropping)

    def apply_transform(self, subject: Subject) -> Subject:
        images = self.get_images(subject)
        if images and any(self.bounds_parameters) and not same_geometry.same_grid(images):
            warn_by_code(
                "GRIDS_DIFFER",
                f"{self!r} cuts away different places of {', '.join(images)}, since they are on "
                f"different grids: resample all onto one first, Resample({next(iter(images))!r}), "
                "or name the images to crop, include=[...]",
            )
        return super().apply_transform(subject)

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> SlicedSource:
        before, after = _ends(self.bounds_parameters)
        sizes = source.shape[1:]
        if any(b + a >= n for b, n, a in zip(before, sizes, after, strict=True)):
            raise SelectionError(
                f"{self!r} leaves nothing of an image of {sizes} voxels: crop less than the image"
            )
        return source[tuple(slice(b, n - a) for b, n, a in zip(before, sizes, after, strict=True))]


class Pad(SpatialTransform):
    """Add voxels at the ends of the axes.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.Pad((0, 0, 2, 2, 0, 0), padding_mode="edge")(scan).shape
        (1, 64, 60, 48)

    Args:
        padding: Voxels to add at the ends of W, H and D, in the same forms as for `Crop`.
        padding_mode: A number; or a mode of `numpy.pad`: ``"edge"``, ``"wrap"``, ``"reflect"``,
            ``"symmetric"``, ``"linear_ramp"`` (to 0), ``"constant"`` or ``"empty"`` (0); or
            ``"maximum"``, ``"mean"``, ``"median"``, ``"minimum"`` of the whole image, which is
            read immediately to compute the value.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For an invalid padding.
        KeyError: For other modes, as in TorchIO.
        UnsupportedError: When applied, if the type of an image, or of a label map, cannot hold the
            number (``OUT_OF_TYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("padding", "padding_mode")

    def __init__(self, padding: Bounds, padding_mode: str | float = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = padding
        self.bounds_parameters = six_bounds(padding)
        self.padding_mode = checked_mode(padding_mode)

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        before, after = _ends(self.bounds_parameters)
        if not any(self.bounds_parameters):
            return source
        return padded(source, before, after, self.padding_mode)


def six_bounds(bounds: Bounds) -> Six:
    """Voxels at the two ends of W, H and D.

    Raises:
        ValueError: If it is not one, three or six whole numbers of at least 0.
    """
    numbers: list[Any] = list(bounds) if isinstance(bounds, (Sequence, np.ndarray)) else [bounds]
    are_whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in numbers)
    if not are_whole or any(n < 0 for n in numbers) or len(numbers) not in (1, 3, 6):
        raise ValueError(
            f"voxels at the ends of axes are 1, 3 or 6 whole numbers of at least 0, not {bounds!r}"
        )
    counts = [int(n) for n in numbers]
    if len(counts) == 1:
        counts *= 6
    if len(counts) == 3:
        counts = [n for n in counts for _ in range(2)]
    return counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]


def _ends(bounds: Six) -> tuple[Shape3, Shape3]:
    return bounds[::2], bounds[1::2]
