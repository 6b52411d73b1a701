"""OME-Zarr 0.4, 0.5 and 0.6: levels, axes and geometry of one multiscale image.

Specification: https://ngff.openmicroscopy.org. Which image a group means, where it collects
several, is in `voxarray.formats.zarr.ome_groups`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats.zarr.axes import canonical
from voxarray.formats.zarr.coordinate_frame import world_of
from voxarray.formats.zarr.node import Node
from voxarray.formats.zarr.ome_groups import only, require_geometry
from voxarray.formats.zarr.transforms import composed, of_level
from voxarray.geometry.units import seconds, unit_of
from voxarray.source.base import Channels

Json = Mapping[str, Any]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Multiscale:
    """What the metadata of a multiscale image say.

    Attributes:
        axes: Of the arrays, as OME-Zarr describes them.
        world: Axes of the coordinates that the transformations lead to.
        paths: Of the levels below the group, the finest first.
        matrices: Per level, from index to coordinates, in the order of the axes.
    """

    axes: tuple[Json, ...]
    world: tuple[Json, ...]
    paths: tuple[str, ...]
    matrices: tuple[Matrix, ...]

    @classmethod
    def of(cls, group: Node, path: str) -> Multiscale:
        """The only multiscale image of a group.

        Raises:
            UnsupportedError: There are several (``MULTIPLE_IMAGES``), the version has no geometry
                (``OME_VERSION``), or it is not affine (``UNSUPPORTED_TRANSFORM``).
            FormatError: ``BAD_METADATA``.
        """
        try:
            return cls.parse(only(group, path), group, path)
        except (KeyError, TypeError, AttributeError) as error:
            raise _malformed(error, path) from error

    @classmethod
    def parse(cls, image: Json, group: Node, path: str) -> Multiscale:
        """One multiscale image of a group; raises as `of`."""
        try:
            require_geometry(image, group, path)
            return cls._parse(image)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, FormatError):
                error.path = path
                raise
            raise _malformed(error, path) from error

    @classmethod
    def _parse(cls, image: Json) -> Multiscale:
        systems = {s["name"]: tuple(s["axes"]) for s in image.get("coordinateSystems") or ()}
        system = _target(image, systems) if systems else ""
        axes = systems[system] if systems else tuple(image["axes"])
        datasets = image["datasets"]
        after, world = _after(image, systems, system, axes)
        matrices = tuple(
            after @ of_level(dataset.get("coordinateTransformations"), len(axes), dataset["path"])
            for dataset in datasets
        )
        if not datasets or not all(isinstance(d["path"], str) for d in datasets):
            raise FormatError(
                "an image needs at least one level with a path: repair its datasets",
                code="BAD_METADATA",
            )
        if not all(isinstance(axis, Mapping) for axis in (*axes, *world)):
            raise FormatError(
                "an axis is not described by a JSON object: repair the axes", code="BAD_METADATA"
            )
        return cls(axes, world, tuple(d["path"].strip("/") for d in datasets), matrices)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes of the arrays."""
        return tuple(canonical(axis.get("name")) for axis in self.axes)

    def world_of(self, path: str) -> Matrix:
        """(4, 4) coordinates (x, y, z) to RAS+ mm."""
        return world_of(self.world, path)

    def intrinsic(self, level: int, path: str) -> Matrix:
        """(4, 4) voxel index (x, y, z) of a level to coordinates (x, y, z) in their own units.

        Raises:
            FormatError: Positions in space depend on channel or time (``MIXED_AXES``).
        """
        matrix, size = self.matrices[level], len(self.axes)
        outputs = [canonical(axis.get("name")) for axis in self.world]
        result = np.eye(4)
        for row, name in enumerate("xyz"):
            if name not in outputs:
                continue
            numbers = matrix[outputs.index(name)]
            result[row, :3] = [
                numbers[self.names.index(n)] if n in self.names else 0.0 for n in "xyz"
            ]
            result[row, 3] = numbers[size]
            non_spatial = [n for n, axis in enumerate(self.names) if axis not in ("x", "y", "z")]
            if numbers[non_spatial].any():
                names = [self.names[n] for n in non_spatial]
                raise FormatError(
                    f"the {name} of {path} depends on the axes {names}: "
                    "all channels of an image must have one position; save the channels as "
                    "separate images",
                    code="MIXED_AXES",
                    path=path,
                )
        return result

    def channels(self, counts: str) -> Channels:
        """What C counts, with the time between volumes if it counts time."""
        if counts != "t":
            return Channels()
        outputs = [canonical(axis.get("name")) for axis in self.world]
        row, column = outputs.index("t"), self.names.index("t")
        unit = unit_of(self.world[row])
        step = float(self.matrices[0][row, column]) * seconds(unit)
        return Channels("time", step if np.isfinite(step) and step > 0 else 0.0)


def _malformed(error: Exception, path: str) -> FormatError:
    return FormatError(
        f"{path} does not have the metadata of an OME-Zarr image ({error!r}): repair its "
        "attributes",
        code="BAD_METADATA",
        path=path,
    )


def _after(
    image: Json, systems: Mapping[str, tuple[Json, ...]], system: str, axes: tuple[Json, ...]
) -> tuple[Matrix, tuple[Json, ...]]:
    """What follows the transformations of each level, and the axes to which it leads.

    Before 0.6 it is one list for all levels. From 0.6 on transformations lead from one named
    coordinate system to another, and the world is where no transformation leads on.

    Args:
        image: The multiscale.
        systems: Axes of the coordinate systems by name; none before 0.6.
        system: The system to which the levels lead.
        axes: Its axes.
    """
    transformations = image.get("coordinateTransformations") or []
    if not systems:
        return composed(transformations, len(axes)), axes
    matrix = np.eye(len(axes) + 1)
    for _ in range(len(transformations) + 1):
        onwards = [t for t in transformations if _leads_on(t, system, systems)]
        if not onwards:
            return matrix, _axes_of(systems, system, len(axes))
        if len(onwards) > 1:
            raise UnsupportedError(
                f"transformations lead from the coordinate system {system!r} to several others, "
                f"{[_system(t.get('output'))[1] for t in onwards]}, and nothing says which of "
                "these is the patient's world: keep one of these transformations",
                code="AMBIGUOUS_SYSTEMS",
            )
        matrix = composed(onwards, len(axes)) @ matrix
        system = _system(onwards[0].get("output"))[1]
    raise FormatError(
        f"the transformations lead to the coordinate system {system!r} twice, in a circle: remove "
        "one of them",
        code="BAD_METADATA",
    )


def _leads_on(transform: Json, system: str, systems: Mapping[str, tuple[Json, ...]]) -> bool:
    """Whether a transformation leads from a system of this image to another place in the world.

    It does not where it leads to or from the system of another image, such as a label map of it,
    nor where it counts voxels, that is to a system without units from one with them.
    """
    source, target = _system(transform.get("input")), _system(transform.get("output"))
    if source != ("", system) or target[0]:
        return False
    axes = systems.get(target[1])
    return axes is None or _is_measured(axes) or not _is_measured(systems[system])


def _is_measured(axes: tuple[Json, ...]) -> bool:
    spatial = [axis for axis in axes if canonical(axis.get("name")) in ("x", "y", "z")]
    return any(unit_of(axis) is not None or axis.get("orientation") for axis in spatial)


def _target(image: Json, systems: Mapping[str, tuple[Json, ...]]) -> str:
    """The coordinate system to which the levels' own transformations lead."""
    transforms = [d.get("coordinateTransformations") or [] for d in image["datasets"]]
    targets = {_system(t.get("output"))[1] for level in transforms for t in level}
    if len(targets) > 1:
        raise UnsupportedError(
            "the transformations of the levels lead to several coordinate systems, "
            f"{sorted(targets)}: let all of them lead to the same one",
            code="AMBIGUOUS_SYSTEMS",
        )
    return next(iter(targets), "") or next(iter(systems))


def _axes_of(systems: Mapping[str, tuple[Json, ...]], system: str, size: int) -> tuple[Json, ...]:
    axes = systems.get(system, ())
    if len(axes) != size:
        raise FormatError(
            f"transformations lead to the coordinate system {system!r}, which is not described "
            f"with {size} axes: describe it in coordinateSystems",
            code="BAD_METADATA",
        )
    return axes


def _system(reference: Any) -> tuple[str, str]:
    """The image, by its path below this one, and the name of one of its coordinate systems.

    Names alone tell nothing: the systems of an image and of its label maps may be called alike.
    """
    if not isinstance(reference, Mapping):
        return "", str(reference or "")
    path = str(reference.get("path") or "").strip("/")
    return "" if path == "." else path, str(reference.get("name") or "")
