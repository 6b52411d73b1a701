"""Memory of statistics of numbers that fill many bins, in fresh processes, with several threads."""

from __future__ import annotations

import tracemalloc
from itertools import product

import dask.config
import nibabel
import numpy as np
import pytest

import voxarray as vx
from voxarray.counting.tally import Measures
from voxarray.statistics.passes import measuring_bytes
from voxarray.testing.peak_memory import can_measure, peak_above_imports

pytestmark = pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")

MIB = 1 << 20
SLOW = pytest.mark.slow
SETUP = """
import dask.config, nibabel, numpy, voxarray as vx
dask.config.set({{"voxarray.threads": {threads}, "voxarray.memory-budget": "{budget} MiB"}})
tiny = vx.ScalarImage(tensor=numpy.random.default_rng(0).normal(size=(1, 30, 30, 30)))
ones = vx.LabelMap(tensor=numpy.ones((1, 30, 30, 30), "u1"))
tiny.statistics(), tiny.statistics(ones), tiny.statistics_by_label(ones)
image = vx.ScalarImage({path!r})
"""


@pytest.fixture(scope="module")
def spread() -> np.ndarray:
    """Magnitudes over many powers of two, of both signs."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(256, 256, 120)) * np.exp(5 * rng.normal(size=(256, 256, 120)))


@pytest.mark.parametrize(
    ("dtype", "budget"),
    [
        # The most bytes in the least memory, and whole numbers in more; all in the soak.
        pytest.param(*case, marks=() if case in [("float64", 128), ("int32", 256)] else SLOW)
        for case in product(("float32", "float64", "int32"), (128, 256))
    ],
)
def test_more_threads_take_no_more_than_the_budget(tmp_path, spread, dtype, budget):
    voxels = spread if dtype != "int32" else np.clip(spread * 1e5, -(2**31), 2**31 - 1)
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels.astype(dtype), np.eye(4), dtype=dtype), path)
    setup = SETUP.format(threads=4, budget=budget, path=str(path))
    peak = peak_above_imports(setup, "result = image.statistics().mean")
    print(f"{dtype} of {budget}: {peak.bytes / MIB:.0f} MiB")
    assert peak.result == pytest.approx(voxels.astype(dtype).mean(dtype=np.float64), rel=1e-6)
    assert peak.bytes <= budget * MIB


@pytest.mark.parametrize(
    ("dtype", "call", "budget"),
    [
        ("float64", "statistics_by_label", 124),
        ("int32", "statistics", 148),
        pytest.param("float32", "statistics_by_label", 124, marks=SLOW),
        pytest.param("int32", "statistics_by_label", 124, marks=SLOW),
        pytest.param("float32", "statistics", 148, marks=SLOW),
        pytest.param("float64", "statistics", 148, marks=SLOW),
    ],
)
def test_labels_take_no_more_than_the_budget(tmp_path, spread, dtype, call, budget):
    voxels = spread if dtype != "int32" else np.clip(spread * 1e5, -(2**31), 2**31 - 1)
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels.astype(dtype), np.eye(4), dtype=dtype), path)
    labels = np.arange(voxels.size, dtype=np.uint8).reshape(voxels.shape) % 3
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii")
    setup = SETUP.format(threads=4, budget=budget, path=str(path))
    setup += f"labels = vx.LabelMap({str(tmp_path / 'labels.nii')!r})"
    peak = peak_above_imports(setup, f"image.{call}(labels)")
    print(f"{call}, {dtype} of {budget}: {peak.bytes / MIB:.0f} MiB")
    assert peak.bytes <= budget * MIB


def test_values_of_all_magnitudes_take_no_more_than_was_projected():
    """Of both signs, over all bins: from those of one width to the finest."""
    powers = np.linspace(-150, 127, 1 << 14)
    voxels = np.concatenate([2.0**powers, -(2.0**powers)]).astype("f4").reshape(1, 32, 32, 32)
    counter = Measures()
    tracemalloc.start()
    counter.add(voxels.ravel())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= measuring_bytes(vx.ScalarImage(tensor=voxels).source)


def test_what_is_kept_of_each_label_counts():
    shape = (1, 128, 128, 128)
    scan = vx.ScalarImage(tensor=np.random.default_rng(0).normal(size=shape).astype("f4"))
    numbers = np.arange(np.prod(shape)).reshape(shape)
    one, many = (vx.LabelMap(tensor=(numbers % count).astype("i2")) for count in (1, 500))
    with dask.config.set({"voxarray.memory-budget": "70 MiB"}):
        assert [*scan.statistics_by_label(one)] == [0]
        with pytest.raises(vx.MemoryBudgetError, match="the statistics of 500 labels"):
            scan.statistics_by_label(many)
    assert len(scan.statistics_by_label(many)) == 500


def test_what_a_second_pass_keeps_of_each_label_counts():
    shape = (1, 128, 128, 160)
    scan = vx.ScalarImage(tensor=np.random.default_rng(0).normal(1e6, 1, shape))
    few, many = (
        vx.LabelMap(tensor=(np.arange(scan.numpy().size) % count).reshape(shape).astype("i2"))
        for count in (1, 20)
    )
    with dask.config.set({"voxarray.memory-budget": "80 MiB"}):
        assert scan.statistics_by_label(few)[0].std == pytest.approx(1, rel=0.01)
        # The first pass ends: the values share few bins. Their distances from the mean do not.
        with pytest.raises(vx.MemoryBudgetError, match="the statistics of 20 labels"):
            scan.statistics_by_label(many)
    assert len(scan.statistics_by_label(many)) == 20


def test_sorting_labels_of_compressed_files_takes_no_more_than_the_budget(tmp_path):
    shape, budget = (256, 256, 320), 150
    voxels = np.random.default_rng(0).integers(0, 1000, shape, "i2")
    labels = (np.arange(voxels.size) // 97 % 5).astype("u1").reshape(shape)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    setup = SETUP.format(threads=4, budget=budget, path=str(tmp_path / "scan.nii.gz"))
    setup += f"labels = vx.LabelMap({str(tmp_path / 'labels.nii.gz')!r})"
    call = "result = [(n, s.count, s.minimum, s.median) for n, s in {}.items()]"
    peak = peak_above_imports(setup, call.format("image.statistics_by_label(labels)"))
    print(f"{peak.bytes / MIB:.0f} MiB")
    chosen = {n: voxels[labels == n] for n in range(5)}
    assert [tuple(item) for item in peak.result] == [
        (n, item.size, item.min(), np.median(item)) for n, item in chosen.items()
    ]
    assert peak.bytes <= budget * MIB


def test_labels_are_grouped_over_channels_and_runs_and_nan_is_none():
    rng = np.random.default_rng(0)
    voxels = rng.normal(size=(2, 90, 80, 70)).astype("f4")
    names = rng.choice([-1.5, 0, 3, np.nan], (1, 90, 80, 70))
    found = vx.ScalarImage(tensor=voxels).statistics_by_label(vx.LabelMap(tensor=names))
    assert [*found] == [-1.5, 0, 3]
    for name, statistics in found.items():
        chosen = voxels[:, names[0] == name]
        assert statistics.count == chosen.size
        assert statistics.mean == pytest.approx(chosen.mean(dtype="f8"), abs=1e-12)
        assert (statistics.minimum, statistics.maximum) == (chosen.min(), chosen.max())


def test_a_shard_of_which_chunks_are_read_alone_is_not_counted_whole(tmp_path):
    """Of four times the budget, float32 was refused: 153 MiB were projected, and 56 are needed."""
    shape = (1, 256, 256, 320)
    vx.ScalarImage(tensor=np.zeros(shape, np.float32)).save(tmp_path / "a.ome.zarr")
    image = vx.ScalarImage(tmp_path / "a.ome.zarr")
    assert np.prod(image.chunks) * 4 == 64 * MIB
    with dask.config.set({"voxarray.memory-budget": 112 * MIB, "voxarray.threads": 2}):
        assert image.statistics().maximum == 0
