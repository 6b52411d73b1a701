"""What the axes of an NRRD file are in the patient's world, and which of them counts channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats._voxels.file_array import Axes
from voxarray.formats._voxels.header_text import checked_spacing, real_numbers
from voxarray.formats.nrrd.header import TIME_STEP, NrrdHeader
from voxarray.geometry.lps import ras_from_lps
from voxarray.geometry.selection import Shape4
from voxarray.geometry.units import length_in_mm, time_in_seconds
from voxarray.source.base import Channels

_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""Signs that turn the axes of an anatomical space into RAS."""

_OTHER_SPACES = {"scanner-xyz": 3, "3d-right-handed": 3, "3d-left-handed": 3}

_UNKNOWN_FRAME = (-1, -1, 1)  # what is no anatomical space ITK takes for LPS

_DOMAIN = {"domain", "space", "???"}

_COMPONENTS = {
    "complex": 2, "2-vector": 2, "3-color": 3, "rgb-color": 3, "hsv-color": 3, "xyz-color": 3,
    "4-color": 4, "rgba-color": 4, "3-vector": 3, "3-gradient": 3, "3-normal": 3, "4-vector": 4,
    "quaternion": 4, "2d-symmetric-matrix": 3, "2d-masked-symmetric-matrix": 4, "2d-matrix": 4,
    "2d-masked-matrix": 5, "3d-symmetric-matrix": 6, "3d-masked-symmetric-matrix": 7,
    "3d-matrix": 9, "3d-masked-matrix": 10, "scalar": 1, "stub": 1,
}  # fmt: skip
"""Sizes that kinds of axes prescribe."""

_NO_UNIT = {"", "???", "none", "unknown"}

_ANY_SIZE = {"vector", "covariant-vector", "normal", "point", "list", "none", "time"}


@dataclass(frozen=True)
class NrrdAxes:
    """The roles of the axes.

    Attributes:
        spatial: Axes of the file that are W, H and D.
        channel: Axis of the file that is C, or None.
        is_complex: Whether the fastest axis holds real and imaginary parts.
        is_time: Whether C is time.
    """

    header: NrrdHeader
    spatial: tuple[int, ...]
    channel: int | None
    is_complex: bool
    is_time: bool

    @classmethod
    def of(cls, header: NrrdHeader) -> NrrdAxes:
        """Give each axis its role.

        Raises:
            UnsupportedError: There are more, or fewer, axes than (C, W, H, D) (code
                ``UNSUPPORTED_DIMS``).
            FormatError: Fields contradict one another (``BAD_HEADER``).
        """
        kinds = _kinds(header)
        directions = _directions(header)
        is_complex = kinds[0] == "complex"
        axes = range(is_complex, len(kinds))
        if directions is None:
            spatial = [axis for axis in axes if kinds[axis] in _DOMAIN]
        else:
            spatial = [axis for axis in axes if directions[axis] is not None]
        others = [axis for axis in axes if axis not in spatial]
        # Beyond three dimensions it is the slowest that counts volumes, as in ITK.
        others.extend(spatial[3:])
        several = [axis for axis in others if header.sizes[axis] > 1]
        if len(several) > 1 or not 2 <= len(spatial) <= 4:
            raise UnsupportedError(
                f"sizes {header.sizes} with kinds {kinds} are not the axes (C, W, H, D) of a plane "
                "or volume: split the file",
                code="UNSUPPORTED_DIMS",
            )
        channel = next(iter(several or others), None)
        is_time = channel is not None and (
            kinds[channel] == "time" or (channel in spatial and _is_timed(header))
        )
        return cls(header, tuple(spatial[:3]), channel, is_complex, is_time)

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D)."""
        sizes = [self.header.sizes[axis] for axis in self.spatial]
        w, h, d = (*sizes, 1)[:3]
        return 1 if self.channel is None else self.header.sizes[self.channel], w, h, d

    @property
    def order(self) -> Axes:
        """Axes (C, W, H, D) by how slowly they run in the file."""
        roles = {axis: role for role, axis in enumerate(self.spatial, 1)}
        if self.channel is not None:
            roles[self.channel] = 0
        slowest_first = [roles[axis] for axis in sorted(roles, reverse=True)]
        a, b, c, d = (*(role for role in range(4) if role not in slowest_first), *slowest_first)
        return a, b, c, d

    @property
    def channels(self) -> Channels:
        """What C counts."""
        if TIME_STEP in self.header.fields:
            (step,) = real_numbers(self.header.fields[TIME_STEP], TIME_STEP)[:1]
            return Channels("time", step if math.isfinite(step) and step > 0 else 0.0)
        if not self.is_time or self.channel is None:
            return Channels()
        spacings = self.header.per_axis("spacings")
        directions = _directions(self.header)
        step = math.nan if spacings is None else spacings[self.channel]
        if directions is not None and directions[self.channel] is not None:
            step = math.hypot(*(directions[self.channel] or ()))
        step *= time_in_seconds(self._unit_of(self.channel)) or 1.0
        return Channels("time", step if math.isfinite(step) and step > 0 else 0.0)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm; a plane without a space lies in x and y, as in ITK.

        Raises:
            FormatError: ``BAD_SPACING``, ``BAD_HEADER``.
            UnsupportedError: A plane in three-dimensional space (``UNSUPPORTED_DIMS``).
        """
        directions = _directions(self.header)
        if directions is None:
            return self._affine_of_spacings()
        size = min(_space_dimension(self.header), 3)
        if size != len(self.spatial):
            raise UnsupportedError(
                f"{len(self.spatial)} axes lie in a space of {size} dimensions, and the thickness "
                "of the plane is not stated: give the file a third axis",
                code="UNSUPPORTED_DIMS",
            )
        if _is_coupled(directions, self.spatial):
            raise UnsupportedError(
                "the position in space depends on time: split the file",
                code="UNSUPPORTED_DIMS",
            )
        affine = np.eye(4)
        for column, axis in enumerate(self.spatial):
            affine[:size, column] = (directions[axis] or [])[:size]
        affine[:size, 3] = _origin(self.header)[:size]
        for row, unit in enumerate(self.header.quoted("spaceunits")[:size]):
            affine[row] *= length_in_mm(unit) or 1.0
        signs = _SPACES.get(_space_name(self.header), _UNKNOWN_FRAME)
        return np.diag([*signs, 1.0]) @ affine

    def remarks(self) -> list[str]:
        """What is odd about the geometry and does not keep the image from being read."""
        fields, warnings = self.header.fields, []
        if _space_name(self.header) not in _SPACES and len(self.spatial) == 3:
            frame = fields.get("space", "not given")
            warnings.append(
                f"UNKNOWN_SPACE: the space is {frame}, which says nothing of the patient; taken "
                "as left-posterior-superior, as ITK does"
            )
        if "spacedirections" in fields and "spaceorigin" not in fields:
            warnings.append("NO_ORIGIN: there is no space origin; taken as 0, as ITK does")
        return warnings + self._remarks_on_units()

    def _remarks_on_units(self) -> list[str]:
        if _directions(self.header) is None:
            units = [self._unit_of(axis) for axis in self.spatial]
        else:
            units = list(self.header.quoted("spaceunits")[: min(_space_dimension(self.header), 3)])
        stated = [unit for unit in units if unit not in _NO_UNIT]
        warnings = []
        if any(length_in_mm(unit) not in (None, 1.0) for unit in stated):
            warnings.append(
                f"NOT_MILLIMETRES: units of length are {stated}; voxarray converts them to mm, and "
                "ITK does not"
            )
        unknown = [unit for unit in stated if length_in_mm(unit) is None]
        if unknown:
            warnings.append(f"UNKNOWN_UNIT: units of length are {unknown}; taken as millimetres")
        return warnings

    def _unit_of(self, axis: int) -> str:
        """Unit of an axis of the file, or of the dimension of space along which it lies."""
        units, world = self.header.quoted("units"), self.header.quoted("spaceunits")
        if axis < len(units):
            return units[axis]
        is_last = axis == self.channel and len(world) == 4
        return world[3] if is_last else ""

    def _affine_of_spacings(self) -> NDArray[np.float64]:
        self._require_no_place()
        spacings = self.header.per_axis("spacings") or [1.0] * len(self.header.sizes)
        spacing = checked_spacing([spacings[axis] for axis in self.spatial])
        affine = np.eye(4)
        for column, (axis, mm) in enumerate(zip(self.spatial, spacing, strict=True)):
            scale = length_in_mm(self._unit_of(axis)) or 1.0
            affine[column, column] = mm * scale
            affine[column, 3] = _axis_origin(self.header, axis, mm) * scale
        return ras_from_lps(affine)

    def _require_no_place(self) -> None:
        """Refuse a space or an origin in it where nothing says which way the axes run."""
        space = self.header.fields.get("space", "")
        is_other = _SPACES.get(_space_name(self.header), _UNKNOWN_FRAME) != _UNKNOWN_FRAME
        if is_other or "spaceorigin" in self.header.fields:
            stated = f"the space {space!r}" if space else "a space origin"
            raise FormatError(
                f"the header gives {stated} but no space directions, so nothing says which way the "
                "axes run: add the field 'space directions'",
                code="BAD_HEADER",
            )


def _kinds(header: NrrdHeader) -> list[str]:
    kinds = header.words("kinds") or ["???"] * len(header.sizes)
    for kind, size in zip(kinds, header.sizes, strict=True):
        if kind not in _DOMAIN | _ANY_SIZE and _COMPONENTS.get(kind) != size:
            raise FormatError(
                f"an axis of {size} cannot be of kind {kind!r}: repair the header",
                code="BAD_HEADER",
            )
    return kinds


def _directions(header: NrrdHeader) -> list[list[float] | None] | None:
    """A vector for each axis in space, None for the others; None if nothing is said of a space."""
    vectors = header.vectors("spacedirections")
    if vectors is None:
        return None
    size = _space_dimension(header)
    if len(vectors) != len(header.sizes) or any(v is not None and len(v) != size for v in vectors):
        raise FormatError(
            f"space directions must be {len(header.sizes)} vectors of {size} numbers, or none; "
            "repair the header",
            code="BAD_HEADER",
        )
    if any(math.isfinite(mm) for mm in header.per_axis("spacings") or []):
        raise FormatError(
            "there are both spacings and space directions: remove one of them from the header",
            code="BAD_HEADER",
        )
    kinds = _kinds(header)
    if any(v is not None and kind in _COMPONENTS for v, kind in zip(vectors, kinds, strict=True)):
        raise FormatError(
            f"kinds {kinds} contradict the space directions: repair the header", code="BAD_HEADER"
        )
    return vectors


def _is_coupled(directions: list[list[float] | None], spatial: tuple[int, ...]) -> bool:
    """Whether, in a space with time, an axis runs along both a dimension of space and time."""
    return any(
        any(vector[3:]) if axis in spatial else len(vector) > 3 and any(vector[:3])
        for axis, vector in enumerate(directions)
        if vector is not None
    )


def _space_name(header: NrrdHeader) -> str:
    name = header.fields.get("space", "").lower()
    if name in ("rast", "last", "lpst"):
        return name[:3]
    return name.removesuffix("-time")


def _is_timed(header: NrrdHeader) -> bool:
    name = header.fields.get("space", "").lower()
    return name.endswith("-time") or name in ("rast", "last", "lpst")


def _space_dimension(header: NrrdHeader) -> int:
    """Numbers that a vector of the space has.

    Raises:
        FormatError: ``BAD_HEADER``.
    """
    if "space" not in header.fields:
        return header.whole_number("spacedimension", 0)
    name = _space_name(header)
    if name not in _SPACES and name not in _OTHER_SPACES:
        raise FormatError(
            f"space {header.fields['space']!r} is unknown: repair the header", code="BAD_HEADER"
        )
    if "spacedimension" in header.fields:
        raise FormatError(
            "there are both space and space dimension: remove one of them from the header",
            code="BAD_HEADER",
        )
    return 4 if _is_timed(header) else 3


def _origin(header: NrrdHeader) -> list[float]:
    size = _space_dimension(header)
    vectors = header.vectors("spaceorigin")
    if vectors is None:
        return [0.0] * size
    if len(vectors) != 1 or vectors[0] is None or len(vectors[0]) != size:
        raise FormatError(
            f"space origin must be a vector of {size} numbers; repair the header", code="BAD_HEADER"
        )
    return vectors[0]


def _axis_origin(header: NrrdHeader, axis: int, spacing: float) -> float:
    """Centre of the first sample of an axis, from ``axis mins``, where that is given."""
    axis_min = (header.per_axis("axismins") or [math.nan] * (axis + 1))[axis]
    if math.isnan(axis_min):
        return 0.0
    centering = (header.words("centerings") or [""] * (axis + 1))[axis]
    if centering not in ("cell", "node") or "spacings" not in header.fields:
        raise FormatError(
            "the field 'axis mins' has no meaning without 'spacings' and 'centerings': repair the "
            "header",
            code="BAD_HEADER",
        )
    return axis_min + spacing / 2 if centering == "cell" else axis_min
