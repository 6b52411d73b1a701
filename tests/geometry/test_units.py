"""The table of units against UDUNITS' and OME's definitions, and against what is no unit."""

from __future__ import annotations

import unicodedata

import pytest

from voxarray.geometry.units import length_in_mm, time_in_seconds, unit_of

LENGTHS = {
    "mm": 1, "millimeter": 1, "Millimetres": 1, "MM": 1, "cm": 10, "m": 1e3, "meters": 1e3,
    "km": 1e6,
    "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "Microns": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6, "nanometers": 1e-6, "pm": 1e-9, "Mm": 1e9, "megameter": 1e9, "angstrom": 1e-7,
    "\u00c5": 1e-7, "\u212b": 1e-7, "\u00c5ngstr\u00f6m": 1e-7, "inch": 25.4, "inches": 25.4,
    "in": 25.4, "feet": 304.8, "ft": 304.8, "yard": 914.4, "mile": 1_609_344, "thou": 0.0254,
    " mm ": 1,
}  # fmt: skip
TIMES = {
    "s": 1, "second": 1, "seconds": 1, "sec": 1, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
    "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ns": 1e-9, "min": 60, "minutes": 60, "h": 3600,
    "hour": 3600, "days": 86400,
}  # fmt: skip


@pytest.mark.parametrize("unit", LENGTHS)
def test_lengths(unit):
    assert length_in_mm(unit) == LENGTHS[unit]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert length_in_mm(unicodedata.normalize(form, unit)) == LENGTHS[unit]


@pytest.mark.parametrize("unit", TIMES)
def test_times(unit):
    assert time_in_seconds(unit) == TIMES[unit]


@pytest.mark.parametrize("unit", [None, 3, "", "pixel", "reference frame", "parsecs", "mmm", "s m"])
def test_what_is_no_unit(unit):
    assert length_in_mm(unit) is None
    assert time_in_seconds(unit) is None


def test_lengths_are_no_times():
    assert not [unit for unit in LENGTHS if time_in_seconds(unit)]
    assert not [unit for unit in TIMES if length_in_mm(unit)]


def test_both_names_of_the_attribute():
    assert unit_of({"unit": "mm"}) == unit_of({"units": "mm"}) == "mm"
    assert unit_of({}) is None
