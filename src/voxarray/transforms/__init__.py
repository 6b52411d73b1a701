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
    from voxarray.transforms.blur import Blur
    from voxarray.transforms.bounds import Crop, Pad
    from voxarray.transforms.clamp import Clamp, To
    from voxarray.transforms.compose import Compose
    from voxarray.transforms.crop_or_pad import CropOrPad, EnsureShapeMultiple
    from voxarray.transforms.function import Lambda
    from voxarray.transforms.histogram_standardization import HistogramStandardization
    from voxarray.transforms.labels import (
        Contour,
        KeepLargestComponent,
        OneHot,
        RemapLabels,
        RemoveLabels,
        SequentialLabels,
    )
    from voxarray.transforms.mask import Mask
    from voxarray.transforms.normalization import NormalizationTransform
    from voxarray.transforms.orientation import Flip, ToCanonical, ToOrientation, Transpose
    from voxarray.transforms.replaying import replay
    from voxarray.transforms.resample import Resample, Resize
    from voxarray.transforms.rescale_intensity import RescaleIntensity
    from voxarray.transforms.transform import (
        IntensityTransform,
        LabelTransform,
        SpatialTransform,
        Transform,
    )
    from voxarray.transforms.z_normalization import ZNormalization

HOMES = {
    "Affine": "affine",
    "Blur": "blur",
    "Clamp": "clamp",
    "Compose": "compose",
    "Contour": "labels",
    "Crop": "bounds",
    "CropOrPad": "crop_or_pad",
    "EnsureShapeMultiple": "crop_or_pad",
    "Flip": "orientation",
    "HistogramStandardization": "histogram_standardization",
    "IntensityTransform": "transform",
    "KeepLargestComponent": "labels",
    "LabelTransform": "transform",
    "Lambda": "function",
    "Mask": "mask",
    "NormalizationTransform": "normalization",
    "OneHot": "labels",
    "Pad": "bounds",
    "RemapLabels": "labels",
    "RemoveLabels": "labels",
    "Resample": "resample",
    "RescaleIntensity": "rescale_intensity",
    "Resize": "resample",
    "SequentialLabels": "labels",
    "SpatialTransform": "transform",
    "To": "clamp",
    "ToCanonical": "orientation",
    "ToOrientation": "orientation",
    "Transform": "transform",
    "Transpose": "orientation",
    "ZNormalization": "z_normalization",
    "replay": "replaying",
}
"""Module of each public name."""

__all__ = [
    "Affine",
    "Blur",
    "Clamp",
    "Compose",
    "Contour",
    "Crop",
    "CropOrPad",
    "EnsureShapeMultiple",
    "Flip",
    "HistogramStandardization",
    "IntensityTransform",
    "KeepLargestComponent",
    "LabelTransform",
    "Lambda",
    "Mask",
    "NormalizationTransform",
    "OneHot",
    "Pad",
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "SequentialLabels",
    "SpatialTransform",
    "To",
    "ToCanonical",
    "ToOrientation",
    "Transform",
    "Transpose",
    "ZNormalization",
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
