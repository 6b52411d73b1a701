"""What the grid of an image says, in the words of TorchIO's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape3, Shape4

Interval = tuple[float, float]

_OPPOSITES = dict(zip("LRPAISTBDV", "RLAPSIBTVD", strict=True))


class GeometryMixin:
    """Properties of anything that has a number of channels and a grid; none reads a voxel."""

    if TYPE_CHECKING:

        @property
        def shape(self) -> Shape4: ...

        @property
        def grid(self) -> Grid: ...

    @property
    def spatial_shape(self) -> Shape3:
        """Shape (W, H, D)."""
        return self.shape[1:]

    @property
    def num_channels(self) -> int:
        """Length of the C axis: channels, or volumes of a series."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Width of a 2D image, in pixels.

        Raises:
            StateError: If the image has more than one slice.
        """
        return self._plane()[0]

    @property
    def height(self) -> int:
        """Height of a 2D image, in pixels.

        Raises:
            StateError: If the image has more than one slice.
        """
        return self._plane()[1]

    @property
    def orientation(self) -> tuple[str, str, str]:
        """World direction that each voxel axis is nearest to, such as ('R', 'A', 'S')."""
        return self.grid.orientation

    @property
    def orientation_str(self) -> str:
        """The orientation as one word, such as ``"RAS"``."""
        return "".join(self.orientation)

    @property
    def direction(self) -> tuple[float, ...]:
        """Nine direction cosines, row by row: column n is the direction of voxel axis n, RAS+."""
        return tuple(float(cosine) for cosine in self.grid.direction.ravel())

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along W, H and D, in mm."""
        return self.grid.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of the centre of the first voxel, RAS+ mm."""
        return self.grid.origin

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(2, 3) centres of the first and the last voxel, RAS+ mm; not sorted.

        `voxarray.Grid.bounds` is something else: the smallest and largest coordinates that the
        voxels reach.
        """
        return self.grid.to_world([(0, 0, 0), [n - 1 for n in self.spatial_shape]])

    def get_bounds(self) -> tuple[Interval, Interval, Interval]:
        """(minimum, maximum) along each world axis of the space that the voxels fill, RAS+ mm.

        All eight outer corners count, half a voxel beyond the centres.
        """
        x, y, z = ((float(low), float(high)) for low, high in self.grid.bounds.T)
        return x, y, z

    def get_center(self, lps: bool = False) -> tuple[float, float, float]:
        """World position of the middle of the volume, in mm.

        Args:
            lps: Whether to return LPS coordinates, as ITK and DICOM use, instead of RAS.
        """
        x, y, z = self.grid.centre
        return (-x, -y, z) if lps else (x, y, z)

    def axis_name_to_index(self, axis: str) -> int:
        """Index, counted from the end (-3, -2 or -1), of the axis that runs along a direction.

        Args:
            axis: ``"Left"``, ``"Right"``, ``"Anterior"``, ``"Posterior"``, ``"Inferior"`` or
                ``"Superior"``, for 2D images also ``"Top"`` and ``"Bottom"`` (the H axis); case
                and everything after the first letter are ignored.

        Raises:
            ValueError: For anything else.
        """
        initial = _initial(axis)
        if initial in "TB":
            return -2
        for position, code in enumerate(self.orientation):
            if initial in (code, _OPPOSITES[code]):
                return position - 3
        raise ValueError(
            f"Axis not understood: {axis!r}. Please use one of: L, R, P, A, I, S, T, B"
        )

    @staticmethod
    def flip_axis(axis: str) -> str:
        """Opposite of a direction, as one letter: ``"R"`` for ``"Left"``.

        Args:
            axis: As in `axis_name_to_index`; also dorsal and ventral.

        Raises:
            ValueError: For anything else.
        """
        return _OPPOSITES[_initial(axis)]

    def _plane(self) -> tuple[int, int]:
        width, height, depth = self.spatial_shape
        if depth != 1:
            raise StateError(
                f"Image is not 2D. Spatial shape: {self.spatial_shape}; width and height are "
                "defined for one slice only, such as image[..., 0]",
                code="NOT_2D",
            )
        return width, height


def _initial(axis: str) -> str:
    initial = axis[:1].upper() if isinstance(axis, str) else ""
    if initial not in _OPPOSITES:
        raise ValueError(
            f"Axis not understood: {axis!r}. Please use one of: {', '.join(_OPPOSITES)}"
        )
    return initial
