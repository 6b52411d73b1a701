"""Slope and intercept as nibabel applies them, rounded once."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxarray.core import scaling as module
from voxarray.core.scaling import Scaling

SMALL = ("u1", "i1", "u2", "i2", "f2", "f4")
WIDE = ("u4", "i4", "u8", "i8", "f8")


@pytest.mark.parametrize("stored", [*SMALL, *WIDE, "c8", "c16", ">i2", ">f4"])
def test_types(stored):
    kind = np.dtype(stored)
    expected = {
        **{np.dtype(name): np.float32 for name in SMALL[:4]},
        **{np.dtype(name): np.float64 for name in WIDE[:4]},
    }.get(kind.newbyteorder("="), kind.newbyteorder("="))
    assert Scaling(2, 1).dtype(kind) == expected
    assert Scaling(2, 1).apply(np.ones((2, 3), kind)).dtype == expected


@settings(max_examples=40)
@given(
    stored=hnp.arrays(st.sampled_from(["u1", "i2", "i4", "f4", "f8"]), hnp.array_shapes()),
    slope=st.floats(-1e3, 1e3, width=32).filter(bool),
    intercept=st.floats(-1e3, 1e3, width=32),
)
def test_numbers_are_nibabels_rounded_once(stored, slope, intercept):
    scaling = Scaling(slope, intercept)
    with np.errstate(all="ignore"):
        # As nibabel does for a header, whose slope and intercept it makes float64.
        wide = nib.volumeutils.apply_read_scaling(
            stored.astype("f8"), np.float64(slope), np.float64(intercept)
        )
        expected = wide.astype(scaling.dtype(stored.dtype))
        seen = scaling.apply(stored)
    assert np.array_equal(seen, expected, equal_nan=True)


def test_scaling_keeps_the_layout_and_equals_float64_arithmetic(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 7)
    stored = np.arange(5 * 6 * 7, dtype="i2").reshape(5, 6, 7).transpose(2, 1, 0)[::-1, ::2]
    seen = Scaling(0.1, 3).apply(stored)
    expected = (stored.astype("f8") * 0.1 + 3).astype("f4")
    assert np.array_equal(seen, expected)
    order = np.argsort(np.abs(stored.strides))
    assert (np.argsort(np.abs(seen.strides)) == order).all()


def test_complex_numbers_are_scaled_in_both_parts():
    assert Scaling(2, 1).apply(np.array([1 + 1j], "c8"))[0] == 3 + 2j


def test_nothing_is_nothing():
    assert Scaling(2, 1).apply(np.empty((0, 3), "i2")).shape == (0, 3)
