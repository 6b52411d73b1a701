"""What MINC images say of themselves, in either version.

Axes stay in the order of the file, as nibabel has them: usually W runs along the patient's z and D
along x. What the numbers mean is in https://en.wikibooks.org/wiki/MINC/Reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats._voxels.file_array import Axes, FileArray
from voxarray.formats._voxels.header_text import checked_sizes
from voxarray.formats._voxels.slice_scaling import PartScaled
from voxarray.geometry.selection import Shape4
from voxarray.geometry.units import length_in_mm, time_in_seconds
from voxarray.source.base import Channels, Source

_COSINES = {"xspace": (1.0, 0.0, 0.0), "yspace": (0.0, 1.0, 0.0), "zspace": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class MincFacts:
    """What both versions say of an image.

    Attributes:
        names: Of the axes, the slowest first.
        sizes: Of the axes.
        dtype: Of a stored number.
        dimensions: Attributes of each axis: start, step, direction_cosines, spacing.
        valid_range: Stored numbers that mean least and most; None for the whole type.
        image_min: Intensity of the least valid number, for each index of leading axes.
        image_max: Intensity of the largest.
        extremes: Names of the axes of ``image_min``, then of those of ``image_max``.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    dtype: np.dtype
    dimensions: Sequence[Mapping[str, Any]]
    valid_range: NDArray[np.float64] | None
    image_min: NDArray[np.float64]
    image_max: NDArray[np.float64]
    extremes: tuple[tuple[str, ...], tuple[str, ...]]

    def check(self) -> None:
        """Refuse what is no image of one (C, W, H, D) array.

        Raises:
            FormatError: ``BAD_DIMS``, or ``BAD_HEADER`` where samples are not equidistant.
            UnsupportedError: ``UNSUPPORTED_DIMS``, ``UNSUPPORTED_DTYPE``.
        """
        checked_sizes(self.sizes, 4)
        if len(self.spatial) != 3 or set(map(self.names.__getitem__, self.spatial)) != set(
            _COSINES
        ):
            raise UnsupportedError(
                f"the axes are {self.names}: expected the three axes of space, and at most one "
                "more; split the file",
                code="UNSUPPORTED_DIMS",
            )
        if self.dtype.kind not in "iuf":
            raise UnsupportedError(
                f"voxels of type {self.dtype} cannot be read: convert them to numbers of 8 to 64 "
                "bits first",
                code="UNSUPPORTED_DTYPE",
            )
        for name, dimension in zip(self.names, self.dimensions, strict=True):
            if as_text(dimension.get("spacing", b"regular__")) == "irregular":
                raise UnsupportedError(
                    f"samples along {name} are not equidistant: resample the image",
                    code="IRREGULAR_SPACING",
                )

    @property
    def spatial(self) -> list[int]:
        """Axes that lie in space."""
        return [axis for axis, name in enumerate(self.names) if name.endswith("space")]

    @property
    def roles(self) -> tuple[int, ...]:
        """For each axis of the file, which of (C, W, H, D) it is."""
        spatial_roles = iter((1, 2, 3))
        return tuple(
            next(spatial_roles) if axis in self.spatial else 0 for axis in range(len(self.names))
        )

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D)."""
        sizes = dict(zip(self.roles, self.sizes, strict=True))
        return sizes.get(0, 1), sizes[1], sizes[2], sizes[3]

    @property
    def order(self) -> Axes:
        """Axes (C, W, H, D) by how slowly they run in the file."""
        a, b, c, d = self.roles if len(self.roles) == 4 else (0, *self.roles)
        return a, b, c, d

    @property
    def channels(self) -> Channels:
        """What C counts."""
        if "time" not in self.names:
            return Channels()
        facts = self.dimensions[self.names.index("time")]
        unit = time_in_seconds(as_text(facts.get("units", "s"))) or 1.0
        step = float(facts.get("step", 0.0)) * unit
        return Channels("time", step if np.isfinite(step) and step > 0 else 0.0)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm, by nibabel's rules: MINC's world is RAS+.

        Raises:
            FormatError: ``BAD_AFFINE``, ``BAD_HEADER``.
        """
        affine = np.eye(4)
        starts = []
        for column, axis in enumerate(self.spatial):
            facts = self.dimensions[axis]
            cosines = np.asarray(facts.get("direction_cosines", _COSINES[self.names[axis]]), float)
            if cosines.shape != (3,):
                raise FormatError(
                    f"direction cosines are {cosines}: expected three numbers; repair the header",
                    code="BAD_HEADER",
                )
            affine[:3, column] = cosines
            starts.append(float(facts.get("start", 0.0)) * _millimetres(facts))
        affine[:3, 3] = affine[:3, :3] @ starts
        affine[:3, :3] *= [
            float(facts.get("step", 1.0)) * _millimetres(facts)
            for facts in (self.dimensions[axis] for axis in self.spatial)
        ]
        return affine

    def scaled(self, base: FileArray) -> Source:
        """The voxels as intensities; floating-point ones are meant as they are.

        Raises:
            FormatError: ``BAD_SCALE``.
        """
        if self.dtype.kind == "f":
            return base
        info = np.iinfo(self.dtype)
        low, high = (info.min, info.max) if self.valid_range is None else self.valid_range
        self._check_tables()
        # ITK writes the range that the voxels have: one number where all are the same.
        is_constant = low == high and np.array_equal(self.image_max, self.image_min)
        if not (info.min <= low <= high <= info.max and (low < high or is_constant)):
            raise FormatError(
                f"the valid range is {low} to {high}: expected two ascending numbers of the "
                "voxel type; repair the header",
                code="BAD_SCALE",
            )
        slopes = (
            np.zeros_like(self.image_max)
            if is_constant
            else (self.image_max - self.image_min) / (high - low)
        )
        intercepts = self.image_min - low * slopes
        valid = None if (low, high) == (info.min, info.max) else (float(low), float(high))
        return PartScaled.of(base, self._spread(slopes), self._spread(intercepts), valid)

    def _check_tables(self) -> None:
        for table, names in zip((self.image_min, self.image_max), self.extremes, strict=True):
            depth = self.image_min.ndim
            if names != self.names[:depth] or table.shape != self.sizes[:depth]:
                raise FormatError(
                    f"image-min and image-max have the axes {self.extremes} and the shapes "
                    f"{self.image_min.shape} and {self.image_max.shape}; the image has the axes "
                    f"{self.names} and the sizes {self.sizes}. The axes of image-min and image-max "
                    "must be the first axes of the image; repair the header",
                    code="BAD_SCALE",
                )

    def _spread(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """A table over the leading axes of the file as one over (C, W, H, D), 1 elsewhere."""
        shape = [1, 1, 1, 1]
        for role, size in zip(self.roles, table.shape, strict=False):
            shape[role] = size
        in_order = np.argsort(self.roles[: table.ndim])
        return table.transpose(in_order).reshape(shape)


def _millimetres(facts: Mapping[str, Any]) -> float:
    """Millimetres per unit of an axis; nibabel takes all numbers for millimetres."""
    return length_in_mm(as_text(facts.get("units", "mm"))) or 1.0


def as_text(value: Any) -> str:
    """An attribute that one of the versions holds as bytes, the other as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
