"""Lengths as people read them: of heads and of cells."""

from __future__ import annotations

_SMALL = 0.1
_NOISE = 1e-9
"""Millimetres that no microscope resolves: what rounding leaves of nothing."""


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
