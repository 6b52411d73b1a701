"""Rotation, scaling and translation in the patient's world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.keys import INTENSITY
from voxarray.geometry.selection import Selection
from voxarray.image import Image
from voxarray.ops.fill_value import require_fill
from voxarray.ops.kernels import kernel
from voxarray.ops.resampling import Resampled
from voxarray.ops.samples import for_scipy
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.resample import label_kernel
from voxarray.transforms.transform import SpatialTransform

_PAD_VALUES = ("minimum", "mean", "otsu")


class Affine(SpatialTransform):
    """Scale, rotate and move the contents of images; their grids stay as they are.

    Examples:
        >>> scan = vx.testing.sample()
        >>> turned = vx.Affine(1, degrees=(0, 0, 15), translation=0)(scan)
        >>> turned.shape == scan.shape
        True

    Args:
        scales: Factors along the patient's axes x, y and z (RAS+): 1.5 makes the contents 1.5 times
            larger.
        degrees: Angles, in degrees, of the rotations around these axes.
        translation: Shift along these axes, in mm.
        center: Fixed point of scaling and rotation: ``"image"``, the middle of each image, or
            ``"origin"``, the point (0, 0, 0) of the world coordinates.
        default_pad_value: Value of voxels that come from outside the image: a number;
            ``"minimum"``, the smallest value of the channel; ``"mean"``, the mean of the six outer
            planes of the channel; or ``"otsu"``, the mean of those voxels in the outer planes that
            are below Otsu's threshold. For the three names, voxels are read when the transform is
            applied.
        default_pad_label: The same for label maps; a number.
        image_interpolation: Interpolation of images: one of the names that `Resample` lists.
        label_interpolation: Interpolation of label maps: one of the names that `Resample` lists for
            them.
        check_shape: Raise a StateError for subjects whose images differ in W, H or D.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Scalar images become float32, as in TorchIO; label maps keep their type.

    Raises:
        ValueError: For arguments that make no sense.
        UnsupportedError: When applied, if the type of a label map cannot hold
            ``default_pad_label`` (``OUT_OF_TYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = (
        *("scales", "degrees", "translation", "center", "default_pad_value", "default_pad_label"),
        *("image_interpolation", "label_interpolation", "check_shape"),
    )

    def __init__(
        self,
        scales: float | Sequence[float],
        degrees: float | Sequence[float],
        translation: float | Sequence[float],
        center: str = "image",
        default_pad_value: str | float = "minimum",
        default_pad_label: float = 0,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        check_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales = _triplet(scales, "scales")
        self.degrees = _triplet(degrees, "degrees")
        self.translation = _triplet(translation, "translation")
        if min(self.scales) <= 0:
            raise ValueError(f"scales must be positive, not {self.scales}")
        if center not in ("image", "origin"):
            raise ValueError(f"center is 'image' or 'origin', not {center!r}")
        if not isinstance(default_pad_value, (int, float)) and default_pad_value not in _PAD_VALUES:
            raise ValueError(
                f"default_pad_value is a number or one of {', '.join(_PAD_VALUES)}, not "
                f"{default_pad_value!r}"
            )
        if not isinstance(default_pad_label, (int, float)):
            raise ValueError(f"default_pad_label is a number, not {default_pad_label!r}")
        self.center, self.check_shape = center, check_shape
        self.default_pad_value, self.default_pad_label = default_pad_value, default_pad_label
        self.image_interpolation = kernel(image_interpolation).name
        self.label_interpolation = label_kernel(label_interpolation)

    def apply_transform(self, subject: Subject) -> Subject:
        if self.check_shape:
            subject.check_consistent_spatial_shape()
        return super().apply_transform(subject)

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        motion = np.linalg.inv(self.matrix(image))
        if image.type != INTENSITY:
            require_fill(self.default_pad_label, source.dtype, cut=True)
            fill = (float(self.default_pad_label),)
            return Resampled.onto(
                source, source.grid, self.label_interpolation, motion=motion, fill=fill
            )
        return Resampled.onto(
            source,
            source.grid,
            self.image_interpolation,
            motion=motion,
            fill=self._pad_values(source),
            dtype=np.dtype(np.float32),
        )

    def matrix(self, image: Image) -> NDArray[np.float64]:
        """(4, 4) matrix from positions before the transform to positions after it, RAS+ mm."""
        scales, degrees = np.array(self.scales), np.array(self.degrees)
        if image.spatial_shape[2] == 1:  # a plane stays one
            scales[2] = 1
            degrees[:2] = 0
        # The order of ITK's Euler transform. TorchIO negates angles for LPS, which is turned by
        # half a circle about z against RAS: together that changes nothing.
        x, y, z = np.radians(degrees)
        rotation = _about(z, 2) @ _about(x, 0) @ _about(y, 1)
        centre = np.array(image.get_center()) if self.center == "image" else np.zeros(3)
        matrix = np.eye(4)
        # Rotated and moved first, then scaled.
        matrix[:3, :3] = np.diag(scales) @ rotation
        matrix[:3, 3] = scales * np.array(self.translation) + centre - matrix[:3, :3] @ centre
        return matrix

    def _pad_values(self, source: SlicedSource) -> tuple[float, ...]:
        value = self.default_pad_value
        if source.dtype.kind == "c":
            return (0.0,)  # refused where they are interpolated: complex numbers have no order
        if not isinstance(value, str):
            return (float(value),)
        channels = [source[n : n + 1, :, :, :] for n in range(source.shape[0])]
        if value == "minimum":
            from voxarray.statistics.measure import statistics_of

            return tuple(statistics_of(channel).minimum for channel in channels)
        return tuple(_border_mean(c, value == "otsu") for c in channels)


def _border_mean(channel: SlicedSource, only_below_otsu: bool) -> float:
    """Mean of the six outer planes; voxels of edges count once for each plane they lie in."""
    planes = []
    for axis in (1, 2, 3):
        for end in (0, channel.shape[axis] - 1):
            ranges = [range(n) for n in channel.shape]
            ranges[axis] = range(end, end + 1)
            selection = Selection((ranges[0], ranges[1], ranges[2], ranges[3]))
            planes.append(channel.read(selection).ravel())
    values = for_scipy(np.concatenate(planes))
    if only_below_otsu:
        import SimpleITK

        values = values.astype(np.uint8) if values.dtype.kind == "b" else values
        otsu = SimpleITK.OtsuThresholdImageFilter()
        otsu.Execute(SimpleITK.GetImageFromArray(values.reshape(1, 1, -1)))
        below = values[values < otsu.GetThreshold()]
        if below.any():
            values = below
    return float(values.mean())


def _about(angle: float, axis: int) -> NDArray[np.float64]:
    """Rotation about one of x, y, z, counter-clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    following, last = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[following, last], [following, last]] = cos
    matrix[last, following], matrix[following, last] = sin, -sin
    return matrix


def _triplet(value: Any, name: str) -> tuple[float, float, float]:
    values = np.asarray(value, np.float64).ravel().tolist()
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or not np.isfinite(values).all():
        raise ValueError(f"{name} is one number or three, not {value!r}")
    return values[0], values[1], values[2]
