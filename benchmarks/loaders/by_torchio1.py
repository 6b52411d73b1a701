"""TorchIO 1.2.1: `UniformSampler` of a subject from ``.nii.gz``, which is loaded for each patch."""

from __future__ import annotations

import torchio as tio


def open_reader(path):
    def read(box):
        subject = tio.Subject(t1=tio.ScalarImage(path))
        patch_size = box[0].stop - box[0].start
        return next(iter(tio.UniformSampler(patch_size)(subject, 1))).t1.data[0]

    return read
