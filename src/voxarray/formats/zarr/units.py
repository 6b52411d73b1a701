"""Units of axes, as UDUNITS and OME-Zarr name them, in millimetres and seconds."""

from __future__ import annotations

import warnings

from voxarray.core.errors import VoxarrayWarning

_PREFIXES = {
    "yotta": 1e24,
    "zetta": 1e21,
    "exa": 1e18,
    "peta": 1e15,
    "tera": 1e12,
    "giga": 1e9,
    "mega": 1e6,
    "kilo": 1e3,
    "hecto": 1e2,
    "": 1.0,
    "deci": 1e-1,
    "centi": 1e-2,
    "milli": 1e-3,
    "micro": 1e-6,
    "nano": 1e-9,
    "pico": 1e-12,
    "femto": 1e-15,
    "atto": 1e-18,
    "zepto": 1e-21,
    "yocto": 1e-24,
}

# Exact by definition: the international inch, foot, yard and mile.
_MILLIMETRES = {
    "mm": 1.0,
    "cm": 10.0,
    "m": 1e3,
    "um": 1e-3,
    "µm": 1e-3,
    "nm": 1e-6,
    "micron": 1e-3,
    "angstrom": 1e-7,
    "inch": 25.4,
    "foot": 304.8,
    "yard": 914.4,
    "mile": 1_609_344.0,
}
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "minute": 60.0, "hour": 3600.0}
_SECONDS["day"] = 86_400.0


def millimetres(unit: object, axis: str, path: str) -> float:
    """Millimetres per unit of a spatial axis.

    Warns:
        VoxarrayWarning: If the unit is missing or unknown, and millimetres are assumed.
    """
    factor = _factor(unit, ("meter", "metre"), 1e3, _MILLIMETRES)
    if factor is not None:
        return factor
    said = "does not say its unit" if unit is None else f"has the unknown unit {unit!r}"
    warnings.warn(
        f"axis {axis} {said}: it is read as millimetres; set image.affine if that is wrong "
        f"[{path}]",
        VoxarrayWarning,
        stacklevel=2,
    )
    return 1.0


def seconds(unit: object) -> float:
    """Seconds per unit of a time axis; 0, which means unknown, for what is no unit of time."""
    return _factor(unit, ("second",), 1.0, _SECONDS) or 0.0


def _factor(
    unit: object, roots: tuple[str, ...], base: float, named: dict[str, float]
) -> float | None:
    if not isinstance(unit, str):
        return None
    text = unit.strip()
    singular = text.lower().removesuffix("s") if len(text) > 2 else text
    for candidate in (text, singular):
        if candidate in named:
            return named[candidate]
    for root in roots:
        if singular.endswith(root) and singular.removesuffix(root) in _PREFIXES:
            # A product of powers of ten can be off in the last place; rounding it is exact.
            return float(f"{_PREFIXES[singular.removesuffix(root)] * base:.12g}")
    return None
