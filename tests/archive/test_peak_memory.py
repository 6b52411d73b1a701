"""Peak memory is what was projected, and does not grow with the volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxarray.archive.options import Options
from voxarray.archive.projection import projected_peak
from voxarray.formats.registry import open_source
from voxarray.testing.peak_memory import can_measure, peak_above_imports
from voxarray.testing.synthetic import Phantom, write_nifti

pytestmark = pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")

MIB = 1 << 20

# What an allocator, threads and lazily loaded code may take, where no projection counts them.
SLACK = 6 * MIB

SETUP = """
import dask.config, voxarray.formats.nifti.read
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.verify import compare, verify
from voxarray.geometry.selection import Selection
from voxarray.formats.registry import open_source
from voxarray.archive.blosc_frame import library
library()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two volumes, one four times as deep, as .nii and .nii.gz, and the archives of the former."""
    path = tmp_path_factory.mktemp("peak")
    for depth in (160, 640):
        for suffix in (".nii", ".nii.gz"):
            write_nifti(Phantom((128, 128, depth)), path / f"{depth}{suffix}")
    return path


def converting(folder: Path, name: str, chunk: int = 32, setup: str = "") -> int:
    """Bytes at the peak of a conversion."""
    source, path = folder / name, folder / f"{name}.ome.zarr"
    statement = (
        f"convert(open_source({str(source)!r}), {str(path)!r}, "
        f"options=Options(chunk={chunk}, overwrite=True))"
    )
    return peak_above_imports(SETUP + setup, statement).bytes


STREAMED = "from voxarray.formats._voxels import gzip_at_once\ngzip_at_once.LARGEST = 0\n"
"""As compressed files are that are too large for the budget to be decoded at once."""


def test_compressed_file_decoded_at_once_stays_under_its_projection(folder):
    source = open_source(folder / "640.nii.gz")
    assert converting(folder, "640.nii.gz") <= projected_peak(source, Options(chunk=32))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_conversion_stays_under_its_projection_and_is_flat(folder, suffix):
    projected = projected_peak(open_source(folder / f"640{suffix}"), Options(chunk=32))
    shallow, deep = (converting(folder, f"{depth}{suffix}", setup=STREAMED) for depth in (160, 640))
    assert max(shallow, deep) <= projected
    # The deep one has 15 MiB more voxels.
    assert deep <= 1.1 * shallow + SLACK


READING = """
import numpy as np
from voxarray.geometry.selection import Selection

def stream(path, planes=32):
    source = open_source(path)
    n, width, height, depth = source.shape
    with source.stream() as voxels:
        for z in range(0, depth, planes):
            slab = np.empty((n, planes, height, width), source.dtype)
            voxels.read_into(slab)
        voxels.finish()
    return source.streaming_bytes + 2 * slab.nbytes

def part(path):
    source = open_source(path)
    return source.reading_bytes + source.read(Selection.whole(source.shape)[:, :, 60:70]).nbytes
"""
"""Ways to read; they return what that may take. Allowances for writing would hide an error here."""


@pytest.mark.parametrize("way", ["stream", "part"])
def test_a_compressed_file_is_read_within_what_it_says(folder, way):
    setup = SETUP + STREAMED + READING + f"{way}({str(folder / '160.nii.gz')!r})"
    peak = peak_above_imports(setup, f"result = {way}({str(folder / '640.nii.gz')!r})")
    assert 0 < peak.bytes <= peak.result


def test_a_very_long_axis_is_projected_with_the_positions_of_its_voxels(tmp_path):
    np.save(tmp_path / "line.npy", np.zeros((8_000_000, 2, 1), "uint8"))
    projected = projected_peak(open_source(tmp_path / "line.npy"), Options(chunk=32))
    assert converting(tmp_path, "line.npy") <= projected


def test_verifying_and_reading_a_patch_take_what_they_touch(folder):
    converting(folder, "640.nii")
    archive, source = str(folder / "640.nii.ome.zarr"), str(folder / "640.nii")
    checked = peak_above_imports(SETUP, f"result = len(verify({archive!r}))")
    assert checked.result == 0
    assert checked.bytes <= SLACK
    patch = peak_above_imports(
        SETUP,
        f"opened = open_source({archive!r})\n"
        "part = opened.read(Selection.whole(opened.shape)[40:80, 30:70, 300:340])\n"
        "result = part.nbytes",
    )
    assert patch.bytes <= patch.result + SLACK
    compared = peak_above_imports(
        SETUP, f"result = len(compare({archive!r}, open_source({source!r})))"
    )
    assert compared.result == 0
    assert compared.bytes <= 2 * SLACK


@pytest.mark.slow
def test_half_a_gigabyte_under_the_promised_bound(tmp_path):
    peaks = []
    for depth in (512, 2048):
        write_nifti(Phantom((512, 512, depth)), tmp_path / f"{depth}.nii.gz")
        projected = projected_peak(open_source(tmp_path / f"{depth}.nii.gz"), Options(chunk=64))
        peaks.append(converting(tmp_path, f"{depth}.nii.gz", chunk=64, setup=STREAMED))
        assert peaks[-1] <= min(projected, 256 * MIB)
    assert peaks[1] <= 1.1 * peaks[0]
