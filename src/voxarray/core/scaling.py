"""Slope and intercept: how stored numbers become intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 20  # voxels per float64 temporary: 8 MiB, whatever the volume


@dataclass(frozen=True, slots=True)
class Scaling:
    """``intensity = stored * slope + intercept``.

    Attributes:
        slope: Finite, not zero.
        intercept: Finite.
    """

    slope: float
    intercept: float

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Type of the intensities: float32 from up to 16-bit integers, float64 from wider ones.

        Floating-point and complex numbers keep their type.
        """
        if stored.kind not in "iu":
            return stored.newbyteorder("=")
        return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)

    def apply(self, stored: NDArray) -> NDArray:
        """Intensities of stored voxels (any shape, layout kept).

        They are computed in float64, as nibabel does, and the result is rounded once, to `dtype`.
        Temporaries stay under 16 MiB.
        """
        dtype = self.dtype(stored.dtype)
        result = np.empty_like(stored, dtype=dtype)  # order "K": a permuted view stays permuted
        wide = np.complex128 if dtype.kind == "c" else np.float64
        pieces = np.nditer(
            [stored, result],
            flags=["external_loop", "buffered", "growinner", "zerosize_ok"],
            op_flags=[["readonly"], ["writeonly"]],
            order="K",
            buffersize=_PIECE,
        )
        with pieces:
            for raw, out in pieces:
                for start in range(0, raw.size, _PIECE):
                    part = raw[start : start + _PIECE].astype(wide)
                    part *= self.slope
                    part += self.intercept
                    out[start : start + _PIECE] = part
        return result
