"""The law of saving, for every format: what is written comes back, or is refused or remarked."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.formats._voxels import itk_writing
from voxarray.formats.registry import open_source
from voxarray.formats.table import FORMATS
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Selection
from voxarray.saving import save
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels
from voxarray.testing.strategies import affines

SUFFIXES = sorted(suffix for known in FORMATS for suffix in known.written)
LOSSY = {".jpg", ".jpeg"}
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", "?")
REFUSALS = {
    "AFFINE_NOT_HELD", "CANNOT_SQUEEZE", "NOT_WRITTEN", "OUT_OF_RANGE", "SHAPE_NOT_HELD",
    "UNSUPPORTED_DIMS", "UNSUPPORTED_DTYPE",
}  # fmt: skip

DIAGONAL = st.tuples(*[st.floats(0.01, 100)] * 3, *[st.floats(-500, 500)] * 3).map(
    lambda n: ras_from_itk(n[:3], n[3:], np.eye(3).ravel())
)


@st.composite
def sources(draw):
    """Small images of every type, with sizes of 1, sheared and mirrored affines, and series."""
    shape = draw(st.sampled_from([1, 1, 2, 3, 4])), *draw(st.tuples(*[st.integers(1, 5)] * 3))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.integers(0, 4)) == 0:
        voxels = np.full(shape, 3).astype(dtype)
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        voxels = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    elif dtype.kind == "b":
        voxels = rng.random(shape) > 0.5
    else:
        voxels = rng.normal(0, 100, shape)
        voxels = (voxels + 1j * voxels[::-1] if dtype.kind == "c" else voxels).astype(dtype)
    channels = draw(st.sampled_from([Channels(), Channels("time", 2.5), Channels("time")]))
    return ArraySource(voxels, draw(affines() | DIAGONAL), channels)


@pytest.fixture(scope="module", autouse=True)
def _itk_writes_in_this_process():
    """Tests of formats and of full disks have it write in a process of its own, file by file."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(itk_writing, "_ENDING", ())
        yield


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(source=sources())
@settings(max_examples=18, deadline=None)
def test_what_is_written_comes_back_or_is_refused_or_remarked(suffix, source):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VoxarrayWarning)
        path = Path(folder) / f"a{suffix}"
        try:
            save(source, path, label=False, overwrite=False)
        except UnsupportedError as error:
            assert error.code in REFUSALS  # noqa: PT017
            assert not list(Path(folder).iterdir())
            return
        remarks = {str(one.message).split(":")[0] for one in caught}
        found = open_source(path)
        voxels = found.read(Selection.whole(found.shape))
    expected = source.array
    if "GREY_AS_COLOURS" in remarks:
        expected = np.repeat(expected, 3, axis=0)
    assert voxels.shape == found.shape == expected.shape
    if suffix not in LOSSY and "CAST_TO_UINT8" not in remarks:
        if "WIDER_DTYPE" in remarks:
            np.testing.assert_allclose(voxels, expected, rtol=1e-6)
        else:
            assert np.array_equal(voxels, expected)
            kept = source.dtype if source.dtype != np.bool_ else found.dtype
            assert voxels.dtype == kept or suffix in {".png", ".bmp"}
    if "GEOMETRY_LOST" not in remarks:
        scale = np.abs(source.affine).max()
        np.testing.assert_allclose(found.affine, source.affine, rtol=0, atol=2e-6 * scale)
    if "TIME_LOST" not in remarks:
        assert found.channels == source.channels
