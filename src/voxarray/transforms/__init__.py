"""TorchIO's preprocessing under TorchIO's names, lazily: each takes an image, a subject, a dict of
images or a DataArray, and returns the same kind.

    preprocess = vx.Compose([vx.ToCanonical(), vx.Resample(1), vx.CropOrPad((256, 256, 256))])
    subject = preprocess(vx.Subject(t1=vx.ScalarImage("t1.nii.gz")))   # reads no voxels
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxarray.transforms.affine import Affine
    from voxarray.transforms.bounds import Crop, Pad
    from voxarray.transforms.compose import Compose
    from voxarray.transforms.crop_or_pad import CropOrPad, EnsureShapeMultiple
    from voxarray.transforms.orientation import Flip, ToCanonical, ToOrientation, Transpose
    from voxarray.transforms.replaying import replay
    from voxarray.transforms.resample import Resample, Resize
    from voxarray.transforms.transform import (
        IntensityTransform,
        LabelTransform,
        SpatialTransform,
        Transform,
    )

HOMES = {
    "replay": "replaying",
    "Affine": "affine",
    "Compose": "compose",
    "Crop": "bounds",
    "CropOrPad": "crop_or_pad",
    "EnsureShapeMultiple": "crop_or_pad",
    "Flip": "orientation",
    "IntensityTransform": "transform",
    "LabelTransform": "transform",
    "Pad": "bounds",
    "Resample": "resample",
    "Resize": "resample",
    "SpatialTransform": "transform",
    "ToCanonical": "orientation",
    "ToOrientation": "orientation",
    "Transform": "transform",
    "Transpose": "orientation",
}
"""Module of each public name."""

__all__ = [
    "Affine",
    "Compose",
    "Crop",
    "CropOrPad",
    "EnsureShapeMultiple",
    "Flip",
    "IntensityTransform",
    "LabelTransform",
    "Pad",
    "Resample",
    "Resize",
    "SpatialTransform",
    "ToCanonical",
    "ToOrientation",
    "Transform",
    "Transpose",
    "replay",
]


def __getattr__(name: str) -> Any:
    """Import a transform on first use (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module 'voxarray.transforms' has no attribute {name!r}")
    value = getattr(import_module(f"voxarray.transforms.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
