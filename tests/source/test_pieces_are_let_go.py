"""What goes through a volume in pieces holds one at a time, as it projects."""

from __future__ import annotations

import weakref

import dask
import numpy as np
import pytest

import voxarray as vx
from voxarray.formats.nifti.source import NiftiSource
from voxarray.source.materialise import materialise
from voxarray.source.pieces import pieces_peak
from voxarray.statistics.cell_passes import count_cells, sum_cells
from voxarray.statistics.histogram import histogram
from voxarray.statistics.value_counts import count_nonzero
from voxarray.testing.peak_memory import can_measure, peak_above_imports
from voxarray.transforms.crop_or_pad import bounding_box

PASSES = {
    "statistics": lambda image, _: image.statistics(),
    "statistics(mask)": lambda image, mask: image.statistics(mask=mask),
    "statistics_by_label": lambda image, mask: image.statistics_by_label(mask),
    "count_nonzero": lambda image, _: count_nonzero(image.source),
    "histogram": lambda image, _: histogram(image.source, [0.0, 1.0, 3.0]),
    "histogram, even": lambda image, _: histogram(image.source, 7),
    "bounding_box": lambda image, _: bounding_box(image),
    "count_cells": lambda image, _: count_cells(image.source),
    "sum_cells": lambda image, _: sum_cells(image.source),
    "cast": lambda image, _: materialise(image.source, np.dtype("f8")),
}


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", ["i2", "f4"])
@pytest.mark.parametrize("threads", [1, 2])
def test_one_piece_is_held(tmp_path, monkeypatch, name, dtype, threads):
    voxels = np.ones((1, 64, 64, 96), dtype)
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.nii")
    image = vx.ScalarImage(tmp_path / "a.nii")
    mask = vx.LabelMap(tensor=voxels.astype("u1"))
    read, held, numbers = NiftiSource.read, [], []

    def watched(source, selection):
        numbers.append(sum(one() is not None for one in held))
        found = read(source, selection)
        held.append(weakref.ref(found))
        return found

    monkeypatch.setattr(NiftiSource, "read", watched)
    monkeypatch.setattr("voxarray.source.pieces.PIECE_BYTES", 1 << 18)
    monkeypatch.setattr("voxarray.statistics.passes._FEW", 1)
    with dask.config.set({"voxarray.threads": threads}):
        result = PASSES[name](image, mask)
    assert name != "statistics" or result.mean == 1
    assert len(numbers) > 2
    assert not any(numbers)


CELLS = """
import numpy as np, voxarray as vx
from voxarray.statistics.cell_passes import {name}
{name}(vx.LabelMap(tensor=np.ones((1, 8, 8, 8), "u1")).source)
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("name", ["count_cells", "sum_cells"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_cells_are_counted_within_the_projection(tmp_path, name, suffix):
    path = tmp_path / f"a{suffix}"
    voxels = np.zeros((1, 192, 192, 192))  # the largest pieces, of 8 bytes a voxel
    voxels[..., ::3] = 7
    vx.LabelMap(tensor=voxels).save(path)
    setup = CELLS.format(name=name)
    peak = peak_above_imports(setup, f"{name}(vx.LabelMap({str(path)!r}).source)")
    assert peak.bytes <= pieces_peak(vx.LabelMap(path).source, 9)
