"""What reading and drawing planes hold at their peak, and what opening holds, stay as projected."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest

import dicom_samples
from voxarray.formats.registry import open_source
from voxarray.testing.peak_memory import can_measure, peak_above_imports

SETUP = """
import logging
import matplotlib
matplotlib.use("agg")
import numpy as np
import voxarray as vx
projections = []
logger = logging.getLogger("voxarray.memory")
logger.setLevel(logging.DEBUG)
logger.addFilter(lambda record: projections.append(record.args[0]))
vx.ScalarImage(tensor=np.zeros((1, 9, 9, 3), "int16")).plot(show=False)
rng = np.random.default_rng(0)
voxels = rng.integers(0, 999, {shape}, np.int16).astype({dtype!r}, copy=False)
if voxels.dtype.kind == "f":
    voxels[:, ::9] = np.nan
image = vx.ScalarImage(tensor=voxels)
del voxels
image.source
projections.clear()
"""


def peak_of_plot(shape, dtype):
    statement = "image.plot(show=False, percentiles=(1, 99)); result = max(projections)"
    # Each array by itself: whether it finds room that was freed in the heap before is chance.
    environment = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    setup = SETUP.format(shape=shape, dtype=dtype)
    return peak_above_imports(setup, statement, environment=environment)


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
def test_plot_projects_its_copies_as_floats_and_the_figure():
    peak = peak_of_plot((1, 1020, 1020, 3), "float32")
    pixels = 1020 * 1020
    assert 16 * pixels < peak.bytes <= peak.result < 32 * pixels


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
def test_plot_looks_for_no_missing_voxels_among_whole_numbers():
    peak = peak_of_plot((1, 1448, 1448, 3), "int16")
    pixels = 1448 * 1448
    assert peak.bytes < 16 * pixels < peak.result < 32 * pixels


@pytest.fixture
def projections():
    """Bytes, as they are projected."""
    found = []

    def keep(record):
        found.append(record.args[0])

    logger = logging.getLogger("voxarray.memory")
    level = logger.level
    logger.addFilter(keep)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeFilter(keep)
    logger.setLevel(level)


def held(code) -> int:
    """Bytes of Python's objects at the peak, above those of before."""
    tracemalloc.start()
    try:
        kept = code()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    return peak


def test_opening_a_series_projects_its_headers(tmp_path, projections):
    dicom_samples.series(tmp_path / "a", np.zeros((40, 4, 5), "int16"))
    open_source(tmp_path / "a")  # imports
    projections.clear()
    peak = held(lambda: open_source(tmp_path / "a"))
    assert 40 << 10 < peak <= max(projections) <= 40 << 14


RAW = {
    ".mha": "ObjectType = Image\nNDims = 3\nDimSize = 128 128 64\nBinaryData = True\n"
    "ElementType = MET_SHORT\nElementDataFile = LOCAL\n",
    ".nrrd": "NRRD0004\ntype: short\ndimension: 3\nsizes: 128 128 64\nendian: little\n"
    "encoding: raw\nspace: RAS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n",
}


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
@pytest.mark.parametrize("suffix", RAW)
def test_a_header_of_text_makes_nothing_of_the_voxels_after_it(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(RAW[suffix].encode() + b"\n" * (2 << 20))  # voxels like empty lines
    assert held(lambda: open_source(path)) < 3 << 20
