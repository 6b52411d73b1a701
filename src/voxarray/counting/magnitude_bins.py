"""Bins of a quantile sketch for magnitudes: fine where they are large, coarser where small.

With ``2^e`` the power of two just below the largest magnitude, magnitudes from ``2^(e-8)`` up lie
in bins that keep 16 bits of their fraction. Each power of two below keeps one bit less, but at
least 10: so voxels outside the field of view that hold the lowest number of float32, -3.4 * 10^38,
leave the percentiles of the others right to a thousandth, down to values of 10^-7. What is smaller
than ``2^(e-150)`` lies in bins of one width. A bin for a
larger ``e`` is made of whole bins for a smaller one, so that counts can be moved without loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BITS = 16
_FINE = 9
"""Powers of two whose bins keep all of these bits of the fraction."""

_FEWEST_BITS = 10
_LAST = 150
"""Number of the smallest power of two that has bins of its own, counted from the largest down."""

_BITS_KEPT = np.clip(_BITS + _FINE - 1 - np.arange(_LAST + 1), _FEWEST_BITS, _BITS)
"""(151,) bits of the fraction that are kept of each power of two, from the largest down."""

# Below the last are as many bins again, as wide as its own: they end at 0.
_FIRST = np.cumsum([1 << _FEWEST_BITS, *(1 << _BITS_KEPT[:0:-1])])[::-1]
"""(151,) number of the first bin of each power of two."""

_FIRST_FINE = int(_FIRST[_FINE - 1])

NUMBER = _FIRST_FINE + (_FINE << _BITS)
"""Bins: the linear ones and those of each power of two. Their counts take 6.1 MiB."""

RELATIVE_WIDTH = 2.0**-_BITS
"""Largest width of a fine bin, as a part of what it holds."""

COARSE_WIDTH = 2.0**-_FEWEST_BITS
"""Largest width of any other logarithmic bin, as a part of what it holds."""

MEDIUM_WIDTH = 2.0 ** -(_BITS + _FINE - 1)
"""Largest width of a bin that is neither fine nor linear, as a part of the largest magnitude."""

LINEAR_WIDTH = 2.0 ** -(_LAST + _FEWEST_BITS)
"""Largest width of a linear bin, as a part of the largest magnitude."""

SMALLEST_EXPONENT = -100
"""Magnitudes that are all below ``2^-100`` are binned as if one were not."""


@dataclass(frozen=True, slots=True)
class _Bits:
    """How a floating-point number is made of bits."""

    unsigned: np.dtype
    signed: np.dtype
    fraction: int
    bias: int


_FLOATS = {
    4: _Bits(np.dtype(np.uint32), np.dtype(np.int32), 23, 127),
    8: _Bits(np.dtype(np.uint64), np.dtype(np.int64), 52, 1023),
}


def exponent_of(largest: float) -> int:
    """Power of two just below a magnitude: the ``e`` that its bins need."""
    return max(int(np.frexp(largest)[1]) - 1, SMALLEST_EXPONENT) if largest else SMALLEST_EXPONENT


def linear_end(largest: float) -> float:
    """Magnitude below which all bins have one width, if this is the largest of all; else 0.

    Args:
        largest: Where it is below ``2^-100``, no bins could be narrower.
    """
    exponent = exponent_of(largest)
    return 0.0 if exponent == SMALLEST_EXPONENT else 2.0 ** (exponent - _LAST)


def indices_of(magnitudes: NDArray, exponent: int) -> NDArray:
    """Number of the bin of each magnitude below ``2^(exponent + 1)``, float32 or float64."""
    bits = _FLOATS[magnitudes.dtype.itemsize]
    # Leading bits of a float ascend with it: they number the fine bins.
    indices = (magnitudes.view(bits.unsigned) >> (bits.fraction - _BITS)).view(bits.signed)
    indices += (1 << _BITS) - ((exponent - _FINE + 1 + bits.bias) << _BITS)
    medium = indices < 1 << _BITS
    if medium.any():
        # With one bit less for each power of two, bins are of one width: as far down as that goes.
        scaled = magnitudes * magnitudes.dtype.type(2.0 ** (_BITS + _FINE - 1 - exponent))
        np.copyto(indices, scaled, where=medium, casting="unsafe")
        small = np.flatnonzero(indices < 1 << _FEWEST_BITS)
        indices += _FIRST_FINE - (1 << _BITS)
        indices[small] = _small_indices(magnitudes[small].astype(np.float64), exponent)
        return indices
    indices += _FIRST_FINE - (1 << _BITS)
    return indices


def _small_indices(magnitudes: NDArray[np.float64], exponent: int) -> NDArray[np.int64]:
    """Number of the bin of each magnitude that the bins of one width do not reach."""
    depth = np.clip(exponent + 1 - np.frexp(magnitudes)[1], 0, _LAST)
    mantissas = np.ldexp(magnitudes, depth + _FEWEST_BITS - exponent).astype(np.int64)
    indices = _FIRST[depth] - (1 << _FEWEST_BITS) + mantissas
    return np.where(magnitudes == 0, 0, indices)


def lower_ends(indices: NDArray, exponent: int) -> NDArray[np.float64]:
    """Lower ends of bins; the upper end of a bin is the lower end of the next."""
    depth = np.minimum(len(_FIRST) - np.searchsorted(_FIRST[::-1], indices, side="right"), _LAST)
    bits = _BITS_KEPT[depth]
    mantissas = indices - _FIRST[depth] + (1 << bits)
    with np.errstate(over="ignore"):
        ends = np.ldexp(mantissas.astype(np.float64), exponent - depth - bits)
    finite: NDArray[np.float64] = np.minimum(ends, np.finfo(np.float64).max)
    return finite
