"""Transforms that exchange and reverse axes; they read nothing and compute nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from voxarray.core.errors import GridError
from voxarray.geometry.grid import Grid
from voxarray.image import Image
from voxarray.ops.permuted import flip, reoriented
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.transform import SpatialTransform


class ToOrientation(SpatialTransform):
    """Reorder axes so that they run towards given directions; every voxel stays in its place.

    Examples:
        >>> scan = vx.testing.sample()
        >>> "".join(vx.ToOrientation("LPS")(scan).orientation)
        'LPS'

    Args:
        orientation: The directions of the three axes, one letter each, such as ``"LPS"``: R or L,
            A or P, and S or I, in any order.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For other letters (``BAD_ORIENTATION``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("orientation",)

    def __init__(self, orientation: str = "RAS", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(orientation, str) or len(orientation) != 3:
            raise GridError(
                f"an orientation is three letters, such as 'RAS', not {orientation!r}",
                code="BAD_ORIENTATION",
            )
        Grid.identity((1, 1, 1)).reorientation(orientation)  # refuses what is none
        self.orientation = orientation.upper()

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> SlicedSource:
        return reoriented(source, self.orientation)


class ToCanonical(ToOrientation):
    """Reorder axes so that they run to the right, to the front and up (RAS).

    Examples:
        >>> scan = vx.testing.sample()
        >>> "".join(vx.ToCanonical()(scan).orientation)
        'RAS'

    Args:
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.
    """

    args_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("RAS", **kwargs)


class Transpose(SpatialTransform):
    """Exchange the first and the last spatial axis; every voxel stays in its place.

    The arguments are those of `Transform`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.Transpose()(scan).shape
        (1, 48, 56, 64)
    """

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> SlicedSource:
        return reoriented(source, "".join(reversed(source.grid.orientation)))


_DIRECTIONS = (
    *("left", "right", "anterior", "posterior", "inferior", "superior"),
    *("top", "bottom"),  # of 2D images
)


def _is_direction(name: str) -> bool:
    """Whether a name is one of a direction, or begins one, such as ``"L"``."""
    return bool(name) and any(direction.startswith(name.lower()) for direction in _DIRECTIONS)


class Flip(SpatialTransform):
    """Reverse axes and leave the affine as it is, so that the patient is mirrored.

    Examples:
        >>> scan = vx.testing.sample()
        >>> import numpy as np
        >>> np.array_equal(vx.Flip(0)(scan).numpy(), scan.numpy()[:, ::-1])
        True

    Args:
        axes: One or several of 0, 1, 2, or of the names of directions, such as ``"Left"`` or
            ``"L"``. A direction stands for the axis that runs along it.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For other axes, or the same twice.
    """

    args_names: ClassVar[tuple[str, ...]] = ("axes",)

    def __init__(self, axes: int | str | tuple[int | str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = (axes,) if isinstance(axes, (int, str)) else tuple(axes)
        for axis in self.axes:
            if not (_is_direction(axis) if isinstance(axis, str) else axis in (0, 1, 2)):
                raise ValueError(
                    "axes are 0, 1, 2 or names of directions "
                    f"({', '.join(name.title() for name in _DIRECTIONS)}), not {axis!r}"
                )
        if len(set(self.axes)) < len(self.axes):
            raise ValueError(f"each axis is flipped once, and axes={axes!r} names one twice")

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> SlicedSource:
        axes = {
            image.axis_name_to_index(axis) + 3 if isinstance(axis, str) else int(axis)
            for axis in self.axes
        }
        return flip(source, tuple(sorted(axes))).with_affine(source.affine)
