"""Transforms that give images a shape by cropping and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.exact_values import held_by
from voxarray.geometry.selection import Shape3
from voxarray.image import Image
from voxarray.ops.padding import checked_mode
from voxarray.source.pieces import pieces_in_turn, require_room
from voxarray.subject import Subject
from voxarray.transforms.bounds import Crop, Pad
from voxarray.transforms.transform import SpatialTransform

Target = int | float | Sequence[int | float | None]
Amounts = tuple[list[int], list[int]]
"""Voxels to add and to remove, at the two ends of W, H and D each."""

_UNITS = {"voxels": None, "mm": 1.0, "cm": 10.0}


class CropOrPad(SpatialTransform):
    """Crop or pad every axis to a length, around the middle of the volume or of a mask.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.CropOrPad((50, 60, 48))(scan).shape
        (1, 50, 60, 48)

    Args:
        target_shape: (W, H, D), or one number for all; None for an axis leaves it as it is. Without
            ``target_shape``, the result is the box around the mask.
        padding_mode: How images are padded: a number, or a mode of `Pad`.
        mask_name: Name of a label map in the subject; the result is centred on the box of its
            voxels that are not 0. The label map is read once to find the box.
        labels: Which voxels of the mask count; by default all that are not 0.
        only_crop: Never pad.
        only_pad: Never crop.
        units: Unit of ``target_shape``: ``"voxels"``, ``"mm"`` or ``"cm"``.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For arguments that make no sense, alone or together.
        StateError: When applied, if the images to crop or pad, and the mask, are on different grids
            (``GRIDS_DIFFER``).
        UnsupportedError: When it pads, as for `Pad` (``OUT_OF_TYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = (
        *("target_shape", "padding_mode", "mask_name", "labels", "only_crop", "only_pad", "units"),
    )

    def __init__(
        self,
        target_shape: Target | None = None,
        padding_mode: str | float = 0,
        mask_name: str | None = None,
        labels: Sequence[int] | None = None,
        only_crop: bool = False,
        only_pad: bool = False,
        units: str = "voxels",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target_shape is None and mask_name is None:
            raise ValueError("a target shape is needed, or the name of a mask")
        if units not in _UNITS:
            raise ValueError(f"units are one of {', '.join(_UNITS)}, not {units!r}")
        if mask_name is not None and not isinstance(mask_name, str):
            raise ValueError(
                f"mask_name is the name of an image, not {mask_name!r}: a target shape is one "
                "argument, CropOrPad((w, h, d))"
            )
        if mask_name is None and labels is not None:
            raise ValueError("labels are those of a mask: give mask_name, too")
        if only_crop and only_pad:
            raise ValueError("only_crop and only_pad cannot both be true")
        self.target_shape = None if target_shape is None else _lengths(target_shape, units)
        self.padding_mode = checked_mode(padding_mode)
        self.mask_name, self.labels = mask_name, labels
        self.only_crop, self.only_pad, self.units = only_crop, only_pad, units

    def apply_transform(self, subject: Subject) -> Subject:
        padding, cropping = self._amounts(subject)
        if any(padding) and not self.only_crop:
            subject = Pad(padding, self.padding_mode, **self.shared_arguments)(subject)
        if any(cropping) and not self.only_pad:
            subject = Crop(cropping, **self.shared_arguments)(subject)
        return subject

    def _concerned(self, subject: Subject) -> Subject:
        """The images that are cropped, and the mask: any others may have grids of their own."""
        images = self.get_images(subject)
        if not images:
            return subject
        if self.mask_name is not None and isinstance(subject.get(self.mask_name), Image):
            images[self.mask_name] = subject[self.mask_name]
        return Subject(images)

    def _amounts(self, subject: Subject) -> Amounts:
        concerned = self._concerned(subject)
        concerned.check_consistent_space()
        shape = concerned.spatial_shape
        target = self._target(concerned)
        box = None if self.mask_name is None else self._box(subject, self.mask_name)
        if box is None:
            return _around_middle(shape, target or shape)
        low, high = box
        return _around((low + high) / 2, shape, target or tuple((high - low).tolist()))

    def _target(self, subject: Subject) -> Shape3 | None:
        if self.target_shape is None:
            return None
        factor = _UNITS[self.units]
        lengths = []
        for length, spacing, size in zip(
            self.target_shape, subject.spacing, subject.spatial_shape, strict=True
        ):
            if length is None:
                lengths.append(size)
            else:
                lengths.append(round(length if factor is None else length * factor / spacing))
        if min(lengths) < 1:
            raise ValueError(
                f"{self.target_shape} {self.units} are less than a voxel of {subject.spacing} mm: "
                "give at least one voxel along each axis"
            )
        return lengths[0], lengths[1], lengths[2]

    def _box(
        self, subject: Subject, name: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        if name not in subject:
            _warn(f"there is no mask {name!r} among {list(subject)}")
            return None
        box = bounding_box(subject.get_image(name), self.labels)
        if box is None:
            _warn(f"the mask {name!r} is empty")
        return box


class EnsureShapeMultiple(SpatialTransform):
    """Crop or pad every axis to a multiple of a number.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.EnsureShapeMultiple(16)(scan).shape
        (1, 64, 64, 48)

    Args:
        target_multiple: Number for each of W, H and D, or one for all.
        method: ``"pad"`` (with 0) or ``"crop"``.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For an unknown method, or numbers that are not positive.
    """

    args_names: ClassVar[tuple[str, ...]] = ("target_multiple", "method")

    def __init__(
        self, target_multiple: int | Sequence[int], *, method: str = "pad", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if method not in ("pad", "crop"):
            raise ValueError(f"method is 'pad' or 'crop', not {method!r}")
        self.target_multiple = _three_integers(target_multiple, "target_multiple")
        self.method = method

    def apply_transform(self, subject: Subject) -> Subject:
        rounded = math.ceil if self.method == "pad" else math.floor
        target = [
            max(1, rounded(size / multiple) * multiple)
            for size, multiple in zip(self._shape(subject), self.target_multiple, strict=True)
        ]
        return CropOrPad(target, **self.shared_arguments)(subject)

    def _shape(self, subject: Subject) -> Shape3:
        images = self.get_images(subject)
        return (Subject(images) if images else subject).spatial_shape


_MARKED_AT_ONCE = 1 << 20
"""Voxels of a piece that are compared at once; of all of it, the marks would take half as much."""


def bounding_box(
    image: Image, labels: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """First and one past the last voxel (W, H, D) of the first channel that are not 0.

    Args:
        image: Read once, in pieces.
        labels: Which values count instead.

    Returns:
        Two arrays of three, or None if there are none.
    """
    source = image.source[:1, :, :, :]
    # Beyond what any voxel can lie at, so that the first one found sets both.
    low, high = np.array(source.shape[1:]), np.zeros(3, np.int64)
    require_room(source, 2 if labels is None else 18, "finding the extent of the mask")
    values = held_by(source.dtype, () if labels is None else labels)
    for where, voxels in pieces_in_turn(source):
        x, y, z = where.spatial
        depth = max(1, _MARKED_AT_ONCE // (len(x) * len(y)))
        for start in range(0, len(z), depth):
            some = voxels[0, :, :, start : start + depth]
            marked = some != 0 if labels is None else np.isin(some, values)
            for axis, positions in enumerate((x, y, z[start : start + depth])):
                other_axes = tuple(other for other in range(3) if other != axis)
                (indices,) = np.nonzero(marked.any(axis=other_axes))
                if indices.size:
                    low[axis] = min(low[axis], positions[indices[0]])
                    high[axis] = max(high[axis], positions[indices[-1]] + 1)
        del voxels, some, marked  # or they would be held while the next piece is read
    return (low, high) if high.any() else None


def _around_middle(shape: Shape3, target: Shape3) -> Amounts:
    padding: list[int] = []
    cropping: list[int] = []
    for size, length in zip(shape, target, strict=True):
        for amount, amounts in ((length - size, padding), (size - length, cropping)):
            excess = max(0, amount)
            amounts += [excess - excess // 2, excess // 2]  # an odd voxel goes first, as in TorchIO
    return padding, cropping


def _around(middle: NDArray[np.float64], shape: Shape3, target: Shape3) -> Amounts:
    """Around a point; where it and the target do not meet on whole voxels, half a voxel lower."""
    padding: list[int] = []
    cropping: list[int] = []
    for centre, size, length in zip(middle.tolist(), shape, target, strict=True):
        start = math.floor(centre - length / 2)
        stop = start + length
        padding += [max(0, -start), max(0, stop - size)]
        cropping += [max(0, start), max(0, size - stop)]
    return padding, cropping


def _lengths(target: Any, units: str) -> tuple[float | None, ...]:
    values = [target] * 3 if isinstance(target, (int, float)) else list(target)
    for value in values:
        is_number = isinstance(value, (int, float, np.integer, np.floating))
        if value is not None and (not is_number or isinstance(value, bool) or value <= 0):
            raise ValueError(f"target_shape holds positive numbers or None, not {value!r}")
        if value is not None and units == "voxels" and value != int(value):
            raise ValueError(f"target_shape in voxels must be whole numbers, not {value!r}")
    if isinstance(target, str) or len(values) != 3:
        raise ValueError(f"target_shape is one number or three, not {target!r}")
    plain = [None if v is None else int(v) if units == "voxels" else float(v) for v in values]
    return tuple(plain)


def _three_integers(value: int | Sequence[int], name: str) -> Shape3:
    values = [value] * 3 if isinstance(value, (int, np.integer)) else list(value)
    if len(values) != 3 or any(int(n) != n or n < 1 for n in values):
        raise ValueError(f"{name} is one positive whole number or three, not {value!r}")
    return int(values[0]), int(values[1]), int(values[2])


def _warn(reason: str) -> None:
    warn_caller(f"{reason}: the middle of the volume is used", RuntimeWarning)
