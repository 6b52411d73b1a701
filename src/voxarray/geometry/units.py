"""The one table of units: lengths in millimetres and times in seconds, by every name in use.

Names are those of UDUNITS and OME-Zarr (``micrometer``), of OME-XML (``µm``, ``thou``), of SI and
of the programs that write files (``micron``, ``msec``). A sign that has two code points, as the
micro sign and the Greek letter mu have, is one sign here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import VoxarrayWarning

_PREFIXES = {
    "yotta": ("Y", 1e24),
    "zetta": ("Z", 1e21),
    "exa": ("E", 1e18),
    "peta": ("P", 1e15),
    "tera": ("T", 1e12),
    "giga": ("G", 1e9),
    "mega": ("M", 1e6),
    "kilo": ("k", 1e3),
    "hecto": ("h", 1e2),
    "deca": ("da", 1e1),
    "": ("", 1.0),
    "deci": ("d", 1e-1),
    "centi": ("c", 1e-2),
    "milli": ("m", 1e-3),
    "micro": ("u", 1e-6),
    "nano": ("n", 1e-9),
    "pico": ("p", 1e-12),
    "femto": ("f", 1e-15),
    "atto": ("a", 1e-18),
    "zepto": ("z", 1e-21),
    "yocto": ("y", 1e-24),
}

# Exact by definition: the international inch and what is made of it, and the astronomical unit.
_NAMED_LENGTHS = {
    "mm": 1.0,  # for "MM", which is no megametre
    "cm": 10.0,
    "um": 1e-3,
    "micron": 1e-3,
    "angstrom": 1e-7,
    "\u00e5ngstr\u00f6m": 1e-7,
    "\u00c5": 1e-7,
    "thou": 0.0254,
    "mil": 0.0254,
    "pt": 25.4 / 72,
    "li": 25.4 / 12,
    "line": 25.4 / 12,
    "in": 25.4,
    "inch": 25.4,
    "inche": 25.4,  # what an s less leaves of the plural
    "ft": 304.8,
    "foot": 304.8,
    "feet": 304.8,
    "yd": 914.4,
    "yard": 914.4,
    "mi": 1_609_344.0,
    "mile": 1_609_344.0,
    "ua": 149_597_870_700e3,
}
_NAMED_TIMES = {
    "sec": 1.0,
    "msec": 1e-3,
    "usec": 1e-6,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
}


def length_in_mm(unit: object) -> float | None:
    """Millimetres per unit of length; None for what is no name of one."""
    return _factor(unit, ("meter", "metre"), "m", 1e3, _NAMED_LENGTHS)


def time_in_seconds(unit: object) -> float | None:
    """Seconds per unit of time; None for what is no name of one."""
    return _factor(unit, ("second",), "s", 1.0, _NAMED_TIMES)


def unit_of(attributes: Mapping[str, Any]) -> object:
    """What attributes of an axis or coordinate state: ``unit`` of OME-Zarr or ``units`` of CF."""
    for key in ("unit", "units"):
        if attributes.get(key) is not None:
            return attributes[key]
    return None


def millimetres(unit: object, axis: str, path: str | None) -> float:
    """Millimetres per unit of a spatial axis.

    Warns:
        VoxarrayWarning: If the unit is missing or unknown, and millimetres are assumed.
    """
    factor = length_in_mm(unit)
    if factor is not None:
        return factor
    fault = "does not say its unit" if unit is None else f"has the unknown unit {unit!r}"
    where = "" if path is None else f" [{path}]"
    warn_caller(
        f"axis {axis} {fault}: it is read as millimetres; set image.affine if that is wrong{where}",
        VoxarrayWarning,
    )
    return 1.0


def seconds(unit: object) -> float:
    """Seconds per unit of a time axis; 0, which means unknown, for what is no unit of time."""
    return time_in_seconds(unit) or 0.0


def _factor(
    unit: object, roots: tuple[str, ...], symbol: str, base: float, by_name: dict[str, float]
) -> float | None:
    if not isinstance(unit, str):
        return None
    text = unicodedata.normalize("NFKC", unit).strip()
    # Symbols are told apart by their case (Mm, mm), names are not.
    for prefix, power in _PREFIXES.values():
        if text in (prefix + symbol, prefix.replace("u", "\u03bc") + symbol):
            return _product(power, base)
    lower = text.lower()
    singular = lower.removesuffix("s") if len(lower) > 2 else lower
    for name in (text, lower, singular):
        if name in by_name:
            return by_name[name]
    for root in roots:
        prefix = singular.removesuffix(root)
        if prefix != singular and prefix in _PREFIXES:
            return _product(_PREFIXES[prefix][1], base)
    return None


def _product(power: float, base: float) -> float:
    # A product of powers of ten can be off in the last place; rounding it is exact.
    return float(f"{power * base:.12g}")
