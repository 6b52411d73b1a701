"""Where voxels are: a shape and an affine, and all geometry as algebra on the two.

Frame and units everywhere: voxel indices (i, j, k) along W, H, D map to world coordinates in
millimetres, RAS+ (x to the right, y to the front, z up); the affine maps voxel *centres*, so a
voxel reaches half an index to each side. LPS exists only where SimpleITK and DICOM are spoken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxarray.core.errors import GridError
from voxarray.geometry.selection import Selection, Shape3, matrix
from voxarray.geometry.voxel_axes import nearest_axes, span_volume

Points = NDArray[np.float64]

SAME_GRID_TOLERANCE = 1e-3
"""Voxels by which two grids may differ anywhere and still count as one."""

_SMALL = 0.1
_NOISE = 1e-9
"""Millimetres that no microscope resolves: what rounding leaves of nothing."""

_AXIS_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular lattice of voxels in the patient's world coordinates.

    Examples:
        >>> import numpy as np
        >>> grid = vx.Grid((64, 56, 48), np.diag([2, 2, 2, 1.0]))
        >>> grid.to_world([1, 0, 0])
        array([2., 0., 0.])
        >>> "".join(grid.orientation)
        'RAS'

    Attributes:
        shape: Number of voxels along W, H and D, each at least one.
        affine: (4, 4) float64 matrix from voxel indices to voxel centres in RAS+ mm; read-only.

    Raises:
        GridError: If the affine is not finite, not (4, 4), singular, or its last row is not 0 0 0
            1; or if the shape is not three positive integers.
    """

    shape: Shape3
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @classmethod
    def identity(cls, shape: Sequence[int]) -> Grid:
        """Grid whose voxel indices are millimetres."""
        return cls(tuple(shape), np.eye(4))  # type: ignore[arg-type]  # checked on construction

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and bool(np.array_equal(self.affine, other.affine))

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    def __repr__(self) -> str:
        spacing = ", ".join(map(millimetres, self.spacing))
        origin = ", ".join(map(millimetres, self.origin))
        return (
            f"Grid(shape: {self.shape}; spacing: ({spacing}) mm; "
            f"origin: ({origin}) mm; orientation: {''.join(self.orientation)}+)"
        )

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        from voxarray.core.html_table import html_table

        low, high = self.bounds
        extent = (f"{millimetres(a)} to {millimetres(b)}" for a, b in zip(low, high, strict=True))
        facts = {
            "shape (W, H, D)": str(self.shape),
            "spacing": " \N{MULTIPLICATION SIGN} ".join(map(millimetres, self.spacing)) + " mm",
            "origin (RAS+)": ", ".join(map(millimetres, self.origin)) + " mm",
            "extent (RAS+)": ", ".join(extent) + " mm",
            "orientation": f"{''.join(self.orientation)}+",
        }
        return html_table("Grid", facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Grid, (self.shape, np.array(self.affine))

    # --- What the affine says -----------------------------------------------------------------

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring centres along W, H and D, in mm."""
        return _spacing(self.affine.tobytes())

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of the centre of voxel (0, 0, 0), RAS+ mm."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3) unit columns: world direction of each voxel axis. Shear is kept."""
        return np.asarray(self.affine[:3, :3] / np.array(self.spacing))

    @property
    def intrinsic_origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel in mm along the voxel axes: ``direction^-1 @ origin``.

        The world position of a voxel is ``direction @ (spacing * index + intrinsic_origin)``. The
        coordinates in xarray begin at ``intrinsic_origin``, and it is the translation in OME-Zarr.
        """
        return _intrinsic_origin(self.affine.tobytes())

    @property
    def orientation(self) -> tuple[str, str, str]:
        """World direction that each voxel axis is nearest to, such as ('R', 'A', 'S')."""
        return _orientation(self.affine.tobytes())

    def corners(self) -> Points:
        """(8, 3) outer corners of the volume, half a voxel beyond the centres, RAS+ mm."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        return self.to_world(np.array(list(itertools.product(*ends))))

    @property
    def bounds(self) -> Points:
        """(2, 3) smallest and largest world coordinates that the voxels reach, RAS+ mm.

        Half a voxel beyond the outer centres. `voxarray.Image.bounds` is something else: the
        centres of the first and the last voxel.
        """
        corners = self.corners()
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    @property
    def centre(self) -> tuple[float, float, float]:
        """World position of the middle of the volume, RAS+ mm."""
        x, y, z = self.to_world((np.array(self.shape) - 1) / 2)
        return float(x), float(y), float(z)

    def to_world(self, indices: ArrayLike) -> Points:
        """World positions (..., 3) in RAS+ mm of voxel indices (..., 3), fractions allowed."""
        return np.asarray(indices, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, points: ArrayLike) -> Points:
        """Fractional voxel indices (..., 3) of world positions (..., 3) in RAS+ mm."""
        shifted = np.asarray(points, float) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], shifted[..., None])[..., 0])

    # --- Other grids made from this one -------------------------------------------------------

    def take(self, ranges: tuple[range, range, range]) -> Grid:
        """Grid of the voxels in these index ranges; steps may be negative."""
        x, y, z = (len(r) for r in ranges)
        return Grid((x, y, z), self.affine @ matrix(ranges))

    def __getitem__(self, key: Any) -> Grid:
        """Slice like an image: up to three integers, slices or ``...`` along W, H, D."""
        return self.take(Selection.whole((1, *self.shape))[key].spatial)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """Grid with this many more voxels (fewer, if negative) at each end of W, H, D."""
        ranges = [range(-b, n + a) for b, n, a in zip(before, self.shape, after, strict=True)]
        return self.take((ranges[0], ranges[1], ranges[2]))

    def zoom(self, factors: Sequence[float]) -> Grid:
        """Grid of the same volume with ``factors`` times as many voxels per mm.

        The outer corner of the first voxel stays where it is and the spacing is exact; where
        ``n * factor`` is not whole, the far end moves by less than a voxel.
        """
        if not all(math.isfinite(f) and f > 0 for f in factors):
            raise GridError(
                f"zoom factors must be positive and finite, got {tuple(factors)}: give a number "
                "such as 2 for each of W, H and D",
                code="BAD_ZOOM",
            )
        shape = [max(1, round(n * f)) for n, f in zip(self.shape, factors, strict=True)]
        return self._resized(shape, [1 / f for f in factors])

    def coarsen(self, factors: Sequence[int]) -> Grid:
        """Grid of whole blocks of ``factors`` voxels; a remainder at the far end is left out."""
        shape = [n // f for n, f in zip(self.shape, factors, strict=True)]
        return self._resized(shape, factors)

    def _resized(self, shape: Sequence[int], steps: Sequence[float]) -> Grid:
        # A voxel that is `step` old voxels wide has its centre (step - 1) / 2 further in.
        scale = np.diag([*steps, 1.0])
        scale[:3, 3] = [(step - 1) / 2 for step in steps]
        return Grid(tuple(shape), self.affine @ scale)  # type: ignore[arg-type]

    def permute(self, axes: Sequence[int]) -> Grid:
        """Grid with its voxel axes in another order; the voxels stay where they are."""
        if sorted(axes) != [0, 1, 2]:
            raise GridError(
                f"axes must be a permutation of 0, 1, 2, got {tuple(axes)}", code="BAD_AXES"
            )
        columns = [*axes, 3]
        return Grid(tuple(self.shape[a] for a in axes), self.affine[:, columns])  # type: ignore[arg-type]

    def flip(self, axes: Sequence[int]) -> Grid:
        """Grid with these voxel axes reversed; the voxels stay where they are."""
        ranges = [range(n)[::-1] if axis in axes else range(n) for axis, n in enumerate(self.shape)]
        return self.take((ranges[0], ranges[1], ranges[2]))

    def reorient(self, codes: str | Sequence[str]) -> Grid:
        """Grid whose voxel axes run towards ``codes``, such as ``"RAS"``."""
        axes, flipped = self.reorientation(codes)
        return self.permute(axes).flip(flipped)

    def reorientation(
        self, codes: str | Sequence[str]
    ) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """Permutation, then flips (in the new order), that lead to the orientation ``codes``."""
        requested = [_world_axis(code) for code in codes]
        if len(requested) != 3 or {axis for axis, _ in requested} != {0, 1, 2}:
            raise GridError(
                f"an orientation names each of R/L, A/P and S/I once, got {''.join(codes)!r}",
                code="BAD_ORIENTATION",
            )
        current = nearest_axes(self.direction)
        order = [[world for world, _ in current].index(axis) for axis, _ in requested]
        flipped = tuple(n for n, axis in enumerate(order) if current[axis][1] != requested[n][1])
        return (order[0], order[1], order[2]), flipped

    # --- Two grids ----------------------------------------------------------------------------

    def isclose(self, other: Grid, tolerance: float = SAME_GRID_TOLERANCE) -> bool:
        """Whether every voxel of both grids is at the same place, to ``tolerance`` voxels."""
        if self.shape != other.shape:
            return False
        return bool(np.all(self.shifts(other) <= tolerance))

    def shifts(self, other: Grid) -> NDArray:
        """How far the corner voxels of a grid of the same shape are from those of this one.

        Returns:
            Absolute differences in voxels of this grid, one corner a row.
        """
        ends = np.array(list(itertools.product(*[(0, n - 1) for n in self.shape])), float)
        differences: NDArray = self.to_index(other.to_world(ends)) - ends
        return abs(differences)

    def footprint(
        self, box: tuple[range, range, range], other: Grid, margin: int = 0
    ) -> tuple[range, range, range]:
        """Voxels of ``other`` that are needed to interpolate ``box`` of this grid.

        Args:
            box: Ascending index ranges in this grid.
            other: The grid that is sampled.
            margin: Voxels that the interpolation needs beyond the two nearest along each axis.

        Returns:
            Ranges in ``other``, clipped to it; empty where the box lies outside.
        """
        ends = itertools.product(*[(r[0], r[-1]) for r in box])
        points = other.to_index(self.to_world(np.array(list(ends))))
        lows = np.floor(points.min(axis=0)).astype(int) - margin
        highs = np.ceil(points.max(axis=0)).astype(int) + margin + 1
        x, y, z = (
            range(max(0, int(low)), max(0, int(low), min(n, int(high))))
            for low, high, n in zip(lows, highs, other.shape, strict=True)
        )
        return x, y, z


def millimetres(value: float) -> str:
    """Two decimals as of a scan, or three significant digits of what is smaller than 0.1 mm.

    Examples:
        >>> [millimetres(one) for one in (0.9375, 0.000325, -12.5, 1e-17)]
        ['0.94', '0.000325', '-12.50', '0.00']
    """
    if _NOISE <= abs(value) < _SMALL:
        text = f"{value:.3g}"
        return text if "e" not in text else f"{value:.12f}".rstrip("0")
    return f"{value if abs(value) >= _NOISE else 0.0:.2f}"


def checked_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """A read-only (4, 4) float64 copy of a valid voxel-to-world affine.

    Raises:
        GridError: As `Grid` does; the code says which rule is broken.
    """
    matrix4 = np.array(affine, dtype=np.float64)
    if matrix4.shape != (4, 4):
        raise GridError(f"an affine has shape (4, 4), got {matrix4.shape}", code="BAD_AFFINE")
    return _checked_matrix(matrix4.tobytes()).view()


@lru_cache(maxsize=256)  # opening and converting one image asks ten times for the same
def _checked_matrix(raw: bytes) -> NDArray[np.float64]:
    matrix4 = np.frombuffer(raw).reshape(4, 4).copy()
    values = matrix4.ravel().tolist()  # sixteen numbers: NumPy takes longer
    if not all(map(math.isfinite, values)):
        raise GridError(f"the affine holds NaN or infinity:\n{matrix4}", code="BAD_AFFINE")
    if values[12:] != [0, 0, 0, 1]:
        raise GridError(
            f"the last row of an affine is 0 0 0 1, got {matrix4[3]}", code="BAD_AFFINE"
        )
    if not span_volume(matrix4[:3, :3]):
        raise GridError(
            f"the affine is singular, its voxel axes span no volume:\n{matrix4}", code="BAD_AFFINE"
        )
    matrix4 += 0.0  # no negative zeros: equal affines get equal bytes, hence equal hashes
    matrix4.flags.writeable = False
    return matrix4


# What is asked of one affine is asked again and again: by the plan of an archive, by each of its
# documents, by the header. 64 affines are kept, which are those of one image and its levels.


@lru_cache(maxsize=64)
def _spacing(affine: bytes) -> tuple[float, float, float]:
    (a, b, c), (d, e, f), (g, h, i) = _columns(affine)[:3, :3].tolist()
    # As `np.linalg.norm` adds and rounds, to the last bit.
    x, y, z = (math.sqrt(u * u + v * v + w * w) for u, v, w in ((a, d, g), (b, e, h), (c, f, i)))
    return x, y, z


@lru_cache(maxsize=64)
def _intrinsic_origin(affine: bytes) -> tuple[float, float, float]:
    columns = _columns(affine)
    direction = columns[:3, :3] / np.array(_spacing(affine))
    x, y, z = np.linalg.solve(direction, columns[:3, 3])
    return float(x), float(y), float(z)


@lru_cache(maxsize=64)
def _orientation(affine: bytes) -> tuple[str, str, str]:
    direction = _columns(affine)[:3, :3] / np.array(_spacing(affine))
    x, y, z = (_AXIS_CODES[world][sign > 0] for world, sign in nearest_axes(direction))
    return x, y, z


def _columns(affine: bytes) -> NDArray[np.float64]:
    return np.frombuffer(affine).reshape(4, 4)


def _checked_shape(shape: Sequence[int]) -> Shape3:
    sizes = [int(n) for n in shape]
    if len(sizes) != 3 or min(sizes) < 1:
        raise GridError(
            f"a grid has three sizes of at least one voxel, got {tuple(shape)}", code="BAD_DIMS"
        )
    return sizes[0], sizes[1], sizes[2]


def _world_axis(code: str) -> tuple[int, int]:
    for world, pair in enumerate(_AXIS_CODES):
        if code.upper() in pair:
            return world, 1 if pair.index(code.upper()) else -1
    raise GridError(f"unknown direction {code!r}: use R, L, A, P, S or I", code="BAD_ORIENTATION")
