"""The metadata of an image in an archive: our own keys, and those of OME-Zarr 0.5.

Our keys hold the exact affine. OME-Zarr 0.5 has no rotation: it gets the spacing as ``scale`` and
``direction^-1 @ origin`` as ``translation``, so that every reader has right distances and one
consistent frame. RFC-4 ``orientation`` names the axes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import Grid
from voxarray.geometry.layout import Factors
from voxarray.source.base import Channels

Json = dict[str, Any]
Kind = Literal["intensity", "label"]

KEY = "voxarray"
VERSION = 1
IMAGE = "image"
NIFTI = "nifti"
"""Array of the NIfTI header: the one that the image came with, or one made for it."""

NODE_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""One of these is in every group and array, of Zarr 3 and of Zarr 2."""

OME_VERSION = "0.5"

CONVENTION = {"uuid": "b6f3c643-eb3b-4346-bd8d-ad7af67d5d59", "name": "voxarray"}

_ORIENTATIONS = {
    "R": "left-to-right",
    "L": "right-to-left",
    "A": "posterior-to-anterior",
    "P": "anterior-to-posterior",
    "S": "inferior-to-superior",
    "I": "superior-to-inferior",
}


@dataclass(frozen=True, slots=True)
class Label:
    """One value of a label map.

    Attributes:
        value: The integer in the voxels.
        name: What it marks.
        colour: RGBA, 0 to 255.
    """

    value: int
    name: str = ""
    colour: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """Everything that must be known to read an archived image, besides its array documents.

    Attributes:
        kind: ``"intensity"`` or ``"label"``.
        affine: (4, 4) of level 0, voxel index (x, y, z) to RAS+ mm, as nested lists.
        dtype: Type of the voxels as they are presented.
        channels: What the first axis counts.
        scaling: How stored numbers become intensities; None if they are intensities.
        factors: Per level, (z, y, x) factors from the level above it.
        labels: Names and colours, for label maps.
        history: Operations that made the image, oldest first.
    """

    kind: Kind
    affine: tuple[tuple[float, ...], ...]
    dtype: str
    channels: Channels = Channels()
    scaling: Scaling | None = None
    factors: tuple[Factors, ...] = ()
    labels: tuple[Label, ...] = ()
    history: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def levels(self) -> int:
        """Number of pyramid levels, the base included."""
        return len(self.factors) + 1

    @property
    def axis(self) -> str:
        """Name of the first stored axis: ``t`` for time, else ``c``."""
        return "t" if self.channels.kind == "time" else "c"

    def grids(self, shape: tuple[int, int, int]) -> list[Grid]:
        """Grid of every level, from the (W, H, D) of the base."""
        grids = [Grid(shape, np.array(self.affine))]
        for z, y, x in self.factors:
            grids.append(grids[-1].coarsen((x, y, z)))
        return grids

    def attributes(self, shape: tuple[int, int, int], of_image: bool = False) -> Json:
        """Attributes of the image's group: ours, OME-Zarr's and the convention's entry.

        Args:
            shape: (W, H, D) of the base level.
            of_image: Whether this is a label map below ``labels/`` of the image it belongs to.
        """
        return {
            "ome": self._ome(self.grids(shape), of_image),
            KEY: self._ours(),
            "zarr_conventions": [CONVENTION],
        }

    def _ours(self) -> Json:
        return {
            "version": VERSION,
            "kind": self.kind,
            "affine": [list(row) for row in self.affine],
            "world": "RAS+",
            "unit": "millimeter",
            "dtype": self.dtype,
            "channels": {"kind": self.channels.kind, "step": self.channels.step},
            "scaling": self.scaling
            and {"slope": self.scaling.slope, "intercept": self.scaling.intercept},
            "factors": [list(f) for f in self.factors],
            "history": [dict(entry) for entry in self.history],
        }

    def _ome(self, grids: Sequence[Grid], of_image: bool) -> Json:
        ome: Json = {"version": OME_VERSION, "multiscales": [self._multiscale(grids)]}
        if self.kind == "label":
            ome["image-label"] = self._image_label()
            if of_image:
                ome["image-label"]["source"] = {"image": "../../"}
        return ome

    def _multiscale(self, grids: Sequence[Grid]) -> Json:
        first: Json = {"name": self.axis, "type": "channel"}
        if self.axis == "t":
            first = {"name": "t", "type": "time", "unit": "second"}
        space = [
            {
                "name": name,
                "type": "space",
                "unit": "millimeter",
                "orientation": {"type": "anatomical", "value": _ORIENTATIONS[code]},
            }
            for name, code in zip("xyz", grids[0].orientation, strict=True)
        ]
        method = "mode of cells" if self.kind == "label" else "mean of cells"
        step = self.channels.step or 1.0
        return {
            "name": IMAGE,
            "axes": [first, *reversed(space)],
            "datasets": [
                {
                    "path": f"{level_name(level)}/{IMAGE}",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [step, *reversed(grid.spacing)]},
                        {
                            "type": "translation",
                            "translation": [0.0, *reversed(grid.intrinsic_origin)],
                        },
                    ],
                }
                for level, grid in enumerate(grids)
            ],
            "type": "mode" if self.kind == "label" else "mean",
            "metadata": {"method": method},
        }

    def _image_label(self) -> Json:
        label: Json = {"version": OME_VERSION}
        colours = [entry for entry in self.labels if entry.colour is not None]
        names = [entry for entry in self.labels if entry.name]
        if colours:
            label["colors"] = [
                {"label-value": entry.value, "rgba": list(entry.colour or ())} for entry in colours
            ]
        if names:
            label["properties"] = [
                {"label-value": entry.value, "name": entry.name} for entry in names
            ]
        return label

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], path: str) -> ImageMetadata:
        """The metadata of a group that `attributes` wrote.

        Raises:
            FormatError: If our keys are missing, malformed or of another version.
        """
        try:
            ours = attributes[KEY]
            if ours["version"] != VERSION:
                raise FormatError(
                    f"{path} has voxarray metadata of version {ours['version']}, but this voxarray "
                    f"reads version {VERSION}: install the version of voxarray that wrote it, or a "
                    "newer one",
                    code="UNKNOWN_VERSION",
                    path=path,
                )
            return cls._parse(ours, attributes["ome"])
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(
                f"{path} does not have the metadata of a voxarray image ({error!r})"
                f"{_level_hint(path)}",
                code="BAD_METADATA",
                path=path,
            ) from error

    @classmethod
    def _parse(cls, ours: Mapping[str, Any], ome: Mapping[str, Any]) -> ImageMetadata:
        scaling, channels = ours["scaling"], ours["channels"]
        affine = tuple(tuple(float(value) for value in row) for row in ours["affine"])
        factors = tuple((int(z), int(y), int(x)) for z, y, x in ours["factors"])
        if [len(row) for row in affine] != [4] * 4 or min(map(min, factors), default=1) < 1:
            raise ValueError("an affine that is not 4 x 4, or factors below 1")
        if not isinstance(ours["dtype"], str) or np.dtype(ours["dtype"]).kind not in "biufc":
            raise ValueError("a type that is not numeric")
        if ours["kind"] not in get_args(Kind) or channels["kind"] not in ("channel", "time"):
            raise ValueError(
                "a kind other than intensity and label, or channels other than channel and time"
            )
        return cls(
            ours["kind"],
            affine,
            str(np.dtype(ours["dtype"])),
            Channels(channels["kind"], float(channels["step"])),
            None
            if scaling is None
            else Scaling(float(scaling["slope"]), float(scaling["intercept"])),
            factors,
            parse_labels(ome.get("image-label", {})),
            tuple(ours["history"]),
        )


def level_name(level: int) -> str:
    """Folder of a pyramid level."""
    return f"scale{level}"


def parse_labels(image_label: Mapping[str, Any]) -> tuple[Label, ...]:
    """Names and colours from the ``image-label`` of OME-Zarr."""
    names = {p["label-value"]: p.get("name", "") for p in image_label.get("properties", [])}
    colours = {c["label-value"]: tuple(c["rgba"]) for c in image_label.get("colors", [])}
    return tuple(
        Label(value, names.get(value, ""), colours.get(value))
        for value in sorted(names.keys() | colours.keys())
    )


def _level_hint(path: str) -> str:
    """End of a message: what to do, which depends on whether the path is that of a level."""
    folder, name = os.path.split(path.rstrip("/"))
    archive, level = os.path.split(folder) if name == IMAGE else (folder, name)
    if not re.fullmatch(r"scale\d+", level):
        return f"; restore them, or {MAKE_AGAIN}"
    number = level.removeprefix("scale")
    return f": it is a level of {archive}; open that archive, and take image.level({number})"
