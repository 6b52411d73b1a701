"""Colours of labels: 0 is black, 1 is white, and no two of the rest look alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PALETTE_SIZE = 255

_STEPS = 16  # of each of red, green and blue, among which colours are chosen
_DARKEST = 35  # lightness, 0 to 100: below it a colour might be taken for the background
_WHITE_POINT = (0.95047, 1.0, 1.08883)  # D65
_APART = 64
"""Colours between those of the same label in two maps: most maps have fewer labels."""

_ORANGE = (255, 119, 0)
_HEX = re.compile(r"#([0-9a-fA-F]{6})([0-9a-fA-F]{2})?")

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1)."""


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """(256, 3) RGB: black, white, then always the colour farthest from all before it.

    Distances are those of CIELAB. The idea is C. Glasbey's (2007, doi:10.1002/col.20327).
    """
    levels = np.linspace(0, 255, _STEPS)
    rgb = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    lab = _lab(rgb)
    rgb, lab = rgb[lab[:, 0] >= _DARKEST], lab[lab[:, 0] >= _DARKEST]
    chosen = [np.zeros(3), np.full(3, 255.0)]
    nearest = np.min([np.linalg.norm(lab - _lab(colour), axis=1) for colour in chosen], axis=0)
    while len(chosen) <= PALETTE_SIZE:
        farthest = int(nearest.argmax())
        chosen.append(rgb[farthest])
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[farthest], axis=1))
    table = np.array(chosen).round().astype(np.uint8)
    table.flags.writeable = False
    return table


def paint(
    labels: NDArray,
    by_label: Mapping[float, tuple[int, int, int]],
    *,
    over_scan: bool = False,
    number: int = 0,
) -> NDArray[np.uint8]:
    """Pixels (..., 3) RGB of labels.

    Args:
        labels: Integers, or floats that stand for them. NaN is black.
        by_label: Colours of some values; all others get theirs from the palette, by value, so that
            a label has one colour in every image.
        over_scan: Whether they lie over grey voxels, in which white would be lost: it is orange
            there, which the palette has not.
        number: Of label maps that are drawn over one scan, how many come before this one. Their
            labels get other colours than those of the same values in the first one.
    """
    values, inverse = np.unique(labels, return_inverse=True)
    colours = np.array(
        [by_label.get(float(value), _colour(value, over_scan, number)) for value in values],
        np.uint8,
    )
    painted: NDArray[np.uint8] = colours[inverse.reshape(labels.shape)]
    return painted


def own_colours(source: Any) -> dict[float, tuple[int, int, int]]:
    """Colours that labels of a source came with, from an OME-Zarr file; empty if they had none."""
    table = source.label_table
    return {float(label.value): label.colour[:3] for label in table if label.colour is not None}


def rgba_of(colour: Any) -> tuple[int, int, int, int] | None:
    """Red, green, blue and alpha, 0 to 255, of a colour as users give it; None if it is none.

    Args:
        colour: Three or four whole numbers from 0 to 255, or ``"#rrggbb"`` or ``"#rrggbbaa"``.
    """
    if isinstance(colour, str):
        match = _HEX.fullmatch(colour)
        channels: Sequence[Any] = bytes.fromhex(match[1] + (match[2] or "ff")) if match else b""
    else:
        try:
            given = [*colour]
        except TypeError:  # it has no parts
            given = []
        channels = given + [255] * (len(given) == 3)
    if len(channels) != 4 or not all(map(_is_byte, channels)):
        return None
    red, green, blue, alpha = map(int, channels)
    return red, green, blue, alpha


def _is_byte(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__") and 0 <= int(value) <= 255


def _colour(value: Any, over_scan: bool, maps_before: int) -> tuple[int, int, int]:
    if not np.isfinite(value):
        return (0, 0, 0)
    number = int(value)
    # 0 stays alone: label 256 is not taken for the background.
    index = number if 0 <= number <= PALETTE_SIZE else 1 + (number - 1) % PALETTE_SIZE
    if index and maps_before:
        index = 1 + (index - 1 + _APART * maps_before) % PALETTE_SIZE
    if index == 1 and over_scan:
        return _ORANGE
    red, green, blue = palette()[index].tolist()
    return red, green, blue


def _lab(rgb: NDArray) -> NDArray[np.float64]:
    """CIELAB of sRGB, 0 to 255 (CIE 15:2004)."""
    scaled = np.asarray(rgb, float) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    x, y, z = np.moveaxis(linear @ _TO_XYZ.T / _WHITE_POINT, -1, 0)
    fx, fy, fz = (
        np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116) for t in (x, y, z)
    )
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -1)
