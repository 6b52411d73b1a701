"""Memory of what a mask is computed from: the compressed file that is streamed beside it."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest

import voxarray as vx
from voxarray.statistics import decoded_copies
from voxarray.statistics.measure import statistics_of
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20
BUDGET = 200 * MIB
SLACK = 8 * MIB
SETUP = """
import logging
import voxarray as vx
projected = []
class Notes(logging.Handler):
    def emit(self, record):
        projected.append(record.args[0])
logging.getLogger("voxarray.memory").setLevel(logging.DEBUG)
logging.getLogger("voxarray.memory").addHandler(Notes())
def run(name):
    path = {folder!r} + "/" + name
    {code}(vx.ScalarImage(path + ".nii.gz")).save(path + "-out.ome.zarr")
run("tiny")
projected.clear()
"""
FUNCTIONS = {
    "mean": "vx.ZNormalization(vx.ZNormalization.mean)",
    "mask": "vx.Mask(lambda x: x > x.mean())",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    plane = np.random.default_rng(0).integers(1, 200, (256, 256)).astype("f4")
    for name, depth in (("tiny", 4), ("large", 384)):
        voxels = np.broadcast_to(plane[None, :, :, None], (1, 256, 256, depth))
        vx.ScalarImage(tensor=voxels).save(folder / f"{name}.nii.gz")
    return folder


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(
    "code",
    [
        FUNCTIONS["mean"],
        pytest.param(FUNCTIONS["mask"], marks=pytest.mark.slow),
    ],
    ids=FUNCTIONS,
)
def test_a_file_of_which_a_mask_is_made_is_not_held_beside_its_stream(folder, tmp_path, code):
    for name in ("tiny.nii.gz", "large.nii.gz"):
        (tmp_path / name).hardlink_to(folder / name)
    setup = SETUP.format(folder=str(tmp_path), code=code)
    peak = peak_above_imports(
        setup,
        "run('large'); result = max(projected)",
        environment={"DASK_VOXARRAY__MEMORY_BUDGET": str(BUDGET)},
    )
    print(f"{peak.bytes / MIB:.1f} of {peak.result / MIB:.1f} MiB")
    assert peak.bytes <= min(BUDGET, peak.result + SLACK)


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_statistics_are_the_same_to_the_bit(tmp_path, monkeypatch, dtype):
    voxels = (np.random.default_rng(0).normal(size=(1, 40, 41, 42)) * 100).astype(dtype)
    path = tmp_path / "scan.nii.gz"
    vx.ScalarImage(tensor=voxels, affine=np.diag([-1, -1, 1, 1.0])).save(path)

    def found() -> tuple[float, ...]:
        image = vx.ScalarImage(path)
        with dask.config.set({"voxarray.gzip-whole-limit": 10_000}):
            normal = vx.ZNormalization(lambda x: x > x.mean())(image)
        return normal.source.base.mean, normal.source.base.deviation

    held = found()
    monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    assert found() == held
    assert decoded_copies.DECODED._copies
    decoded_copies.DECODED.clear()
    assert statistics_of(vx.ScalarImage(path).source).count == voxels.size
