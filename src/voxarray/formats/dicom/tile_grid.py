"""Grids of United Imaging: the slices of a volume as the tiles of one plane, each placed by itself.

A private sequence has an item for each tile, in rows from the first, with the Image Position of the
slice. There are as many tiles in a row as make the grid nearly square, and no empty rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from voxarray.core.errors import UnsupportedError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.image_plane import Vector, vector
from voxarray.formats.dicom.mosaic import is_one_slice
from voxarray.formats.dicom.pixel_layout import PixelLayout

_CREATOR = "Image Private Header"


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the slices of a grid are.

    Attributes:
        positions: Centre of the first pixel of each slice, LPS mm.
    """

    positions: tuple[Vector, ...]

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return math.isqrt(len(self.positions) - 1) + 1

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-len(self.positions) // self.across)

    @classmethod
    def of(cls, header: Elements, layout: PixelLayout) -> TileGrid | None:
        """The grid that a header describes; None if its plane is none.

        Raises:
            UnsupportedError: It is one, and does not place its tiles, or cannot be cut into them
                (``MOSAIC``).
        """
        if header.text(tags.UIH_CREATOR) != _CREATOR:
            return None
        count = header.number(tags.UIH_GRID) or 0
        if count <= 1 or is_one_slice(header, layout):
            return None
        items = header.items(tags.UIH_TILES)
        vectors = [vector(item.numbers(tags.POSITION), 3) for item in items]
        positions = tuple(position for position in vectors if position is not None)
        if len(positions) != count or len(vectors) != count:
            raise _refusal(f"states the position of {len(positions)} of its {count:g} slices")
        grid = cls(positions)
        if layout.samples != 1 or layout.rows % grid.down or layout.columns % grid.across:
            raise _refusal(
                f"has {layout.columns} x {layout.rows} pixels of {layout.samples} samples, which "
                f"do not make {grid.across} x {grid.down} tiles"
            )
        return grid

    def layout(self, plane: PixelLayout) -> PixelLayout:
        """The layout of the slices, as frames, in a file with the layout of the plane."""
        return replace(
            plane,
            frames=len(self.positions),
            rows=plane.rows // self.down,
            columns=plane.columns // self.across,
            across=self.across,
            down=self.down,
        )


def _refusal(why: str) -> UnsupportedError:
    return UnsupportedError(
        f"the plane is a grid of slices of a scanner of United Imaging, and {why}: convert it with "
        "dcm2niix",
        code="MOSAIC",
    )
