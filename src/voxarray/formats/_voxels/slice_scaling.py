"""Voxels whose slope and intercept differ from slice to slice, or from volume to volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest

_PIECE = 1 << 20  # voxels per float64 temporary


@dataclass(frozen=True, eq=False)
class PartScaled(Source):
    """``intensity = clip(stored) * slope + intercept``, computed in float64, rounded once.

    Attributes:
        base: The stored voxels.
        slopes: Of shape (C, W, H, D), or 1 along axes on which they do not depend.
        intercepts: Of the same shape.
        valid: Least and largest stored number that is one; others count as the nearest.
    """

    base: Source
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    valid: tuple[float, float] | None = None

    @classmethod
    def of(
        cls,
        base: Source,
        slopes: NDArray[np.float64],
        intercepts: NDArray[np.float64],
        valid: tuple[float, float] | None = None,
    ) -> Source:
        """The source itself where all slopes are 1 and all intercepts 0.

        Raises:
            FormatError: One is not finite (``BAD_SCALE``).
        """
        if not (np.isfinite(slopes).all() and np.isfinite(intercepts).all()):
            raise FormatError(
                "a slope or intercept is not finite: repair the header",
                code="BAD_SCALE",
                path=base.path,
            )
        if valid is None and (slopes == 1).all() and (intercepts == 0).all():
            return base
        return cls(base, slopes, intercepts, valid)

    @property
    def shape(self) -> Shape4:
        return self.base.shape

    @property
    def dtype(self) -> np.dtype:
        return Scaling(1, 0).dtype(self.base.dtype)

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.base.affine

    @property
    def chunks(self) -> Shape4:
        return self.base.chunks

    @property
    def channels(self) -> Channels:
        return self.base.channels

    @property
    def path(self) -> str | None:
        return self.base.path

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.base.metadata

    @property
    def bytes_on_disk(self) -> int | None:
        return self.base.bytes_on_disk

    def token(self) -> str:
        return digest("scaled", self.base.token(), self.slopes, self.intercepts, self.valid)

    def read(self, selection: Selection) -> NDArray:
        stored = self.base.read(selection)
        result = np.empty_like(stored, dtype=self.dtype)
        slopes, intercepts = (
            np.broadcast_to(table, self.shape)[selection.slices()]
            for table in (self.slopes, self.intercepts)
        )
        operands = [stored, slopes, intercepts, result]
        pieces = np.nditer(
            operands,
            flags=["external_loop", "buffered"],
            op_flags=[["readonly"], ["readonly"], ["readonly"], ["writeonly"]],
            order="K",
            buffersize=_PIECE,
        )
        with pieces:
            for raw, slope, intercept, out in pieces:
                wide = raw.astype(np.float64)
                if self.valid is not None:
                    np.clip(wide, *self.valid, out=wide)
                wide *= slope
                wide += intercept
                out[...] = wide
        return result
