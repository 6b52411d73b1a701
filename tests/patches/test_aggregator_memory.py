"""A volume that does not fit is put together in a file: the peak is below the budget."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20
SIDE, PATCH = 320, 64
BUDGET = 124 * MIB  # of 125 MiB of float32

SETUP = """
import dask.config, numpy as np, torch, torch.utils.data
import voxarray as vx, voxarray.patches, voxarray.archive.source, voxarray.archive.convert
dask.config.set({{"voxarray.threads": 1, "voxarray.memory-budget": {budget}}})
sampler = vx.GridSampler(vx.Subject(t1=vx.ScalarImage("{path}")), {patch}, {overlap})
"""

STATEMENT = """
aggregator = vx.GridAggregator(sampler, "{mode}")
for location in sampler.locations:
    value = float(location[:3].sum()) if "{mode}" == "crop" else 7.0
    aggregator.add_batch(torch.full((1, 1, {patch}, {patch}, {patch}), value), location[None])
aggregator.save("{out}")
"""


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
@pytest.mark.parametrize(
    ("mode", "overlap"),
    [pytest.param("crop", 0, marks=pytest.mark.slow), ("hann", 16)],  # which holds weights, too
)
def test_the_peak_is_below_the_budget(tmp_path, mode, overlap):
    flat = vx.ScalarImage(tensor=np.zeros((1, SIDE, SIDE, SIDE), np.uint8))
    flat.save(tmp_path / "t1.ome.zarr")
    facts = {
        "path": tmp_path / "t1.ome.zarr", "out": tmp_path / "out.ome.zarr", "mode": mode,
        "patch": PATCH, "overlap": overlap, "budget": BUDGET,
    }  # fmt: skip
    peak = peak_above_imports(SETUP.format(**facts), STATEMENT.format(**facts))
    assert peak.bytes < BUDGET < 4 * SIDE**3
    found = vx.ScalarImage(tmp_path / "out.ome.zarr").numpy()[0]
    if mode == "hann":
        np.testing.assert_allclose(found, 7, rtol=1e-5)
    else:
        first = np.arange(SIDE) // PATCH * PATCH
        expected = first[:, None, None] + first[:, None] + first
        np.testing.assert_array_equal(found, expected)
