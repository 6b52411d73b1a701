"""matplotlib, where it is installed."""

from __future__ import annotations

from typing import Any

from voxarray.core.optional import import_optional

_INSTALL = "voxarray[plot]"


def pyplot() -> Any:
    """``matplotlib.pyplot``, which shows figures.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    return import_optional("matplotlib.pyplot", _INSTALL)


def figure(size: tuple[float, float], dpi: float = 100) -> Any:
    """A figure that no window shows and pyplot does not know.

    Args:
        size: Width and height in inches.
        dpi: Pixels per inch.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    return import_optional("matplotlib.figure", _INSTALL).Figure(size, dpi, layout="constrained")


def to_rgb(colour: Any) -> tuple[int, int, int]:
    """RGB, 0 to 255, of a colour as matplotlib names it, or of three numbers in that range."""
    if not isinstance(colour, str):
        red, green, blue = colour[:3]
        return int(red), int(green), int(blue)
    fractions = import_optional("matplotlib.colors", _INSTALL).to_rgb(colour)
    red, green, blue = (round(255 * part) for part in fractions)
    return red, green, blue
