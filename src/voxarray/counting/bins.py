"""Bins for magnitudes of any size: logarithmic where they are large, linear where they are small.

With ``2^e`` the power of two just below the largest magnitude, magnitudes from ``2^(e-8)`` up lie
in bins that keep 16 bits of their fraction, smaller ones in bins of ``2^(e-24)``. A bin for a
larger ``e`` is made of whole bins for a smaller one, so that counts can be moved without loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BITS = 16
_BINADES = 9

NUMBER = (_BINADES + 1) << _BITS
"""Bins: the linear ones and those of each power of two. Their counts take 5 MiB."""

RELATIVE_WIDTH = 2.0**-_BITS
"""Largest width of a logarithmic bin, as a part of what it holds."""

LINEAR_WIDTH = 2.0 ** -(_BITS + _BINADES - 1)
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


def places(magnitudes: NDArray, exponent: int) -> NDArray:
    """Number of the bin of each magnitude below ``2^(exponent + 1)``, float32 or float64."""
    bits = _FLOATS[magnitudes.dtype.itemsize]
    # Leading bits of a float ascend with it: they number the logarithmic bins.
    found = (magnitudes.view(bits.unsigned) >> (bits.fraction - _BITS)).view(bits.signed)
    found -= (exponent - _BINADES + bits.bias) << _BITS
    small = found < 1 << _BITS
    if small.any():
        scaled = magnitudes * magnitudes.dtype.type(2.0 ** _scale(exponent))
        np.copyto(found, scaled, where=small, casting="unsafe")
    return found


def lower_ends(found: NDArray, exponent: int) -> NDArray[np.float64]:
    """Lower ends of bins; the upper end of a bin is the lower end of the next."""
    binade = np.maximum(found >> _BITS, 1)
    fraction = found - ((binade - 1) << _BITS)  # of linear bins their own number
    with np.errstate(over="ignore"):
        ends = np.ldexp(fraction.astype(np.float64), binade - 1 - _scale(exponent))
    finite: NDArray[np.float64] = np.minimum(ends, np.finfo(np.float64).max)
    return finite


def _scale(exponent: int) -> int:
    """Power of two that turns a small magnitude into the number of its bin."""
    return _BITS + _BINADES - 1 - exponent
