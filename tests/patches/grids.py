"""Grids of patches over one volume, ours and TorchIO's, for tests of samplers and aggregators."""

from __future__ import annotations

import torch
import torchio as tio

import voxarray as vx
from patches.conftest import AFFINE, t1_voxels

CASES = [
    ((10, 12, 9), 0, None),
    ((10, 12, 9), (4, 2, 6), None),
    ((10, 12, 9), (4, 2, 6), "constant"),
    ((30, 41, 52), 0, None),
    ((10, 12, 9), 4, "reflect"),
    ((10, 12, 9), 4, 7.0),
    ((10, 12, 9), 4, "edge"),
    ((32, 43, 50), 8, "symmetric"),
]


def in_memory():
    return vx.Subject(t1=vx.ScalarImage(tensor=t1_voxels(), affine=AFFINE))


def torchios(size, overlap, padding):
    subject = tio.Subject(t1=tio.ScalarImage(tensor=torch.from_numpy(t1_voxels()), affine=AFFINE))
    return tio.GridSampler(subject, size, overlap, padding)
