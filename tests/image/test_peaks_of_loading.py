"""What loading costs, in a fresh process: never more than projected, and projected tightly."""

from __future__ import annotations

import numpy as np
import pytest

from scans import AFFINE, write
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20

# name, type in the file, header, what is measured, type of the result
CASES = {
    "stream": ("a.nii.gz", "int16", {}, "image.load()", "int16"),
    "stream, promoted": ("a.nii.gz", "uint16", {}, "image.load()", "int32"),
    "scaled": ("a.nii", "int16", {"scl_slope": 0.1, "scl_inter": 0}, "image.load()", "float32"),
    "promoted": ("a.nii", "uint16", {}, "image.load()", "int32"),
    "reversed": ("a.nii", "int16", {}, "image = image[..., ::-1]; image.load()", "int16"),
    "to_tensor": ("a.nii", "int16", {}, "kept = image.to_tensor(torch.float32)", "float32"),
    "archive": ("a.zarr", "int16", {}, "image.load()", "int16"),
}
QUICK = {"scaled"}


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(
    "case",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_peak_of_loading(tmp_path, case):
    name, dtype, header, statement, result = CASES[case]
    shape = (1, 256, 256, 200 if case in QUICK else 800)
    path = write(tmp_path / name.replace(".zarr", ".nii"), _noise(shape, dtype), AFFINE, **header)
    if name.endswith(".zarr"):
        import voxarray as vx

        vx.ScalarImage(path).save(tmp_path / name)
    # The first read of a tiny image imports what reading needs, and starts threads.
    tiny = write(
        tmp_path / f"tiny_{name}".replace(".zarr", ".nii"), _noise(shape, dtype)[:, :2], AFFINE
    )
    setup = f"""
import numpy, torch, voxarray as vx
from voxarray.source.materialise import projected_peak
vx.ScalarImage({str(tiny)!r}).load()
image = vx.ScalarImage({str(tmp_path / name)!r})
projected = projected_peak(image.source, numpy.dtype({result!r}))
"""
    peak = peak_above_imports(setup, f"{statement}\nresult = projected")
    size = int(np.prod(shape)) * np.dtype(result).itemsize
    assert size <= peak.bytes <= max(peak.result, size) + 16 * MIB
    assert peak.bytes <= size + 64 * MIB


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    plane = np.random.default_rng(0).integers(0, 500, shape[1:3]).astype(dtype)
    return np.broadcast_to(plane[None, :, :, None], shape).copy()
