"""TorchIO's preprocessing under TorchIO's names, lazily.

Each transform takes an image, a subject, a dict of images or a DataArray, and returns the same
kind.

    preprocess = vx.Compose([vx.ToCanonical(), vx.Resample(1), vx.CropOrPad((256, 256, 256))])
    subject = preprocess(vx.Subject(t1=vx.ScalarImage("t1.nii.gz")))   # reads no voxels
"""

from __future__ import annotations

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
