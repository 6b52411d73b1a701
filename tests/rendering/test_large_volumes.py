"""Volumes of any size are looked at in a bounded part of memory."""

from __future__ import annotations

import pytest

from voxarray.testing.peak_memory import can_measure, peak_above_imports

LIMIT = 512 << 20

PHANTOM = """
import os, sys, tempfile
import dask, dask.array as da, matplotlib, numpy as np
matplotlib.use("agg")
import matplotlib.pyplot, ipyniivue
import voxarray as vx

def filled(block_info=None):
    (_, *place) = block_info[None]["array-location"]
    part = np.zeros([1, *(stop - start for start, stop in place)], np.int16)
    if all(stop <= 400 for _, stop in place):
        part[:] = 100 + place[0][0] // 10
    return part

def opened(name):
    if name == "a.nii":
        shape, path = (3250, 3250, 3250), os.path.join(folder, name)
        small = vx.ScalarImage(tensor=np.ones((1, 2, 2, 2), np.int16))
        small.save(path)
        with open(path, "r+b") as file:
            file.seek(40)
            file.write(np.array([3, *shape, 1, 1, 1, 1], "<i2").tobytes())
            file.truncate(352 + 2 * 3250**3)
        return path
    edges, meta = [(200,) * 8] * 3, np.empty((0,) * 4, "i2")
    voxels = da.map_blocks(filled, chunks=((1,), *edges), dtype=np.int16, meta=meta)
    vx.ScalarImage(tensor=voxels).save(os.path.join(folder, name))
    return os.path.join(folder, name)

folder = tempfile.mkdtemp(dir={folder!r})
small = vx.testing.sample((8, 8, 8))
small.plot(show=False); small.view(); small._repr_html_()
path = opened({name!r})
"""

LOOKS = {
    "view": "vx.ScalarImage(path).view()",
    "plot": "vx.ScalarImage(path).plot(show=False)",
    "html": "vx.ScalarImage(path)._repr_html_()",
}


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", ["a.nii", "a.ome.zarr"])
def test_a_look_at_a_large_volume_is_small(tmp_path, name, look):
    """A sparse `.nii` of 64 GiB, and an archive of 8 GiB, which takes a minute to make."""
    setup = PHANTOM.replace("{folder!r}", repr(str(tmp_path))).replace("{name!r}", repr(name))
    peak = peak_above_imports(setup, LOOKS[look], timeout=1200)
    print(f"{name} {look}: {peak.bytes / 2**20:.0f} MiB, {peak.seconds:.2f} s")
    assert peak.bytes < LIMIT
