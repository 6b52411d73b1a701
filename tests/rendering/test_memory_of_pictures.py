"""Pictures, films and counts of a volume four times the memory budget keep to the budget."""

from __future__ import annotations

import pytest

from voxarray.testing.peak_memory import can_measure, peak_above_imports
from voxarray.testing.synthetic import Phantom, write_nifti

BUDGET_MIB = 64
SHAPE = (448, 448, 672)  # int16, 257 MiB

SETUP = """
import os
import tempfile
import dask
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot, PIL.Image, PIL.GifImagePlugin, PIL.PngImagePlugin, numpy as np
import voxarray as vx
import voxarray.rendering.volume, voxarray.rendering.histogram, voxarray.rendering.image_html
import voxarray.rendering.gif, voxarray.rendering.video, av
import voxarray.formats.nifti.read, voxarray.archive.source
folder = tempfile.mkdtemp()
# Encoders, fonts and colour tables are loaded at first use: not what is measured.
noise = np.random.default_rng(0).integers(0, 9, (1, {w}, {h}, 40))
small = vx.ScalarImage(tensor=noise.astype("i2"))
small.plot(show=False); small.hist(show=False); small._repr_html_()
small.to_gif(2, 4, folder + "/a.gif"); small.to_video(folder + "/a.mp4")
matplotlib.pyplot.close("all")
del small, noise
dask.config.set({{"voxarray.memory-budget": "{budget} MiB", "voxarray.threads": 2}})
image = vx.LabelMap("{path}") if {label} else vx.ScalarImage("{path}")
"""

OPERATIONS = {
    "plot": 'image.plot(show=False, output_path=folder + "/a.png")',
    "html": "image._repr_html_()",
    "hist": "image.hist(show=False)",
    "count_labels": "result = len(image.count_labels())",
    "count_nonzero": "result = image.count_nonzero()",
    "gif": 'image.to_gif(2, 4, folder + "/b.gif")',
    "gif, sagittal": 'image.to_gif(0, 4, folder + "/b.gif")',
    "video": 'image.to_video(folder + "/b.mp4", seconds=4)',
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import voxarray as vx

    folder = tmp_path_factory.mktemp("volumes")
    write_nifti(Phantom(SHAPE), folder / "a.nii")
    for name in ("a.nii.gz", "a.ome.zarr"):
        vx.ScalarImage(folder / "a.nii").save(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_budget_is_kept(files, name, operation):
    width, height, _ = SHAPE
    label = operation.startswith("count")
    setup = SETUP.format(path=files / name, budget=BUDGET_MIB, label=label, w=width, h=height)
    peak = peak_above_imports(setup, OPERATIONS[operation], timeout=120)
    print(f"{name} {operation}: {peak.bytes / 2**20:.1f} MiB, {peak.seconds:.2f} s")
    assert peak.bytes < BUDGET_MIB << 20
