"""Sizes that no disk holds: refused by name, before anything of them is computed."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from voxarray.geometry.selection import Selection
from voxarray.ops.padding import Padded
from voxarray.source.array import ArraySource

MISTAKEN = (
    vx.CropOrPad(100_000_000),
    vx.CropOrPad(10**15),
    vx.Pad(10**8, padding_mode="reflect"),
    vx.Resample(0.0001),
)


@pytest.fixture
def scan() -> vx.ScalarImage:
    return vx.testing.sample()


@pytest.mark.parametrize("transform", MISTAKEN, ids=repr)
def test_what_no_disk_holds_is_refused(
    transform: vx.transforms.Transform, scan: vx.ScalarImage, tmp_path: Path
) -> None:
    huge = transform(scan)
    for name in ("a.nii.gz", "a.nrrd", "a.ome.zarr"):
        with pytest.raises(vx.UnsupportedError, match=r"voxels .* no disk holds") as caught:
            huge.save(tmp_path / name)
        assert caught.value.code == "TOO_LARGE"
    with pytest.raises(vx.UnsupportedError, match="no disk holds"):
        vx.convert(huge, tmp_path / "b.ome.zarr")
    with pytest.raises(vx.UnsupportedError, match="no disk holds"):
        _ = huge.array
    with pytest.raises(vx.UnsupportedError, match="no disk holds"):
        huge.rechunk(64)
    with pytest.raises(vx.MemoryBudgetError):
        huge.load()
    assert not list(tmp_path.iterdir())


def test_its_statistics_are_refused(scan: vx.ScalarImage) -> None:
    """They would be counted for years; transforms that need them are refused at once."""
    huge = vx.Resample(0.0001)(scan)
    for wants_them in (vx.ZNormalization(), vx.RescaleIntensity()):
        with pytest.raises(vx.UnsupportedError, match="no disk holds"):
            wants_them(huge)
    with pytest.raises(vx.UnsupportedError, match="no disk holds"):
        huge.statistics()


def test_a_part_of_it_can_be_taken(scan: vx.ScalarImage) -> None:
    huge = vx.Pad(10**8)(scan)
    part = huge[:, 10**8 : 10**8 + 8, 10**8 : 10**8 + 8, 10**8 : 10**8 + 8]
    assert np.array_equal(part.numpy(), scan[:, :8, :8, :8].numpy())


def test_a_cohort_names_the_image(scan: vx.ScalarImage, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scan.save(tmp_path / "in" / "one.nii.gz")
    vx.convert_cohort(tmp_path / "in", tmp_path / "cohort", workers=1)
    mapped = vx.Cohort(tmp_path / "cohort").map(vx.CropOrPad(10**8))
    with pytest.raises(vx.VoxarrayError, match="one: TOO_LARGE"):
        mapped.save(tmp_path / "out", workers=1)


@pytest.mark.parametrize("mode", ["constant", "edge", "wrap", "reflect", "symmetric"])
def test_what_is_read_for_a_border_is_what_is_used(mode: str) -> None:
    rng = np.random.default_rng(0)
    base = ArraySource(rng.random((1, 5, 2, 1)), np.eye(4))
    padded = Padded(base, (13, 3, 2), (4, 9, 2), mode)
    for start, stop, step in product(range(-1, 22), range(-1, 22), (1, 2, 5, -1, -3)):
        taken = range(22)[max(start, 0) : None if stop < 0 else stop : step]
        if len(taken):
            (needed,) = padded.needs(Selection((range(1), taken, range(3, 5), range(2, 3))))
            used = padded._base_indices(0, taken)
            read = () if needed is None else (needed.ranges[1][0], needed.ranges[1][-1])
            assert read == ((used.min(), used.max()) if len(used) else ())
