"""Subjects of a few voxels, in archives and in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.source.array import ArraySource

SHAPE = (30, 41, 52)
AFFINE = np.array([[0, 2, 0, -5], [-1.5, 0, 0, 3], [0, 0.1, 3, 7], [0, 0, 0, 1.0]])


def t1_voxels(shape=SHAPE):
    return np.arange(np.prod(shape)).reshape(shape)[None].astype("i4")


def label_voxels(shape=SHAPE):
    """Label 1 near a border, label 2 in the middle, label 3 in one corner only."""
    labels = np.zeros(shape, "u1")
    labels[2:8, 10:30] = 1
    labels[12:20, 15:25, 20:30] = 2
    labels[:2, :2, :2] = 3
    return labels[None]


@pytest.fixture(params=["archive", "memory"])
def subject(request, tmp_path: Path):
    if request.param == "memory":
        return vx.Subject(
            t1=vx.ScalarImage(tensor=t1_voxels(), affine=AFFINE),
            seg=vx.LabelMap(tensor=label_voxels(), affine=AFFINE),
            age=40,
        )
    return archived(tmp_path)


def archived(folder: Path, codec: str | None = None):
    for name, voxels, kind in (
        ("t1", t1_voxels(), "intensity"),
        ("seg", label_voxels(), "label"),
    ):
        options = Options(chunk=8, codec=codec, overwrite=True)
        convert(
            ArraySource(voxels, AFFINE), folder / f"{name}.ome.zarr", kind=kind, options=options
        )
    return vx.Subject(
        t1=vx.ScalarImage(folder / "t1.ome.zarr"), seg=vx.LabelMap(folder / "seg.ome.zarr"), age=40
    )
