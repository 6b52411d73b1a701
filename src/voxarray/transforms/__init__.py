"""TorchIO's preprocessing under TorchIO's names, lazily: each takes an image, a subject, a dict of
images or a DataArray, and returns the same kind.

    preprocess = vx.Compose([vx.ToCanonical(), vx.Resample(1), vx.CropOrPad((256, 256, 256))])
    subject = preprocess(vx.Subject(t1=vx.ScalarImage("t1.nii.gz")))   # reads no voxels
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxarray.transforms.compose import Compose
    from voxarray.transforms.transform import (
        IntensityTransform,
        LabelTransform,
        SpatialTransform,
        Transform,
    )

HOMES = {
    "Compose": "compose",
    "IntensityTransform": "transform",
    "LabelTransform": "transform",
    "SpatialTransform": "transform",
    "Transform": "transform",
}
"""Module of each public name."""

__all__ = ["Compose", "IntensityTransform", "LabelTransform", "SpatialTransform", "Transform"]


def __getattr__(name: str) -> Any:
    """Import a transform on first use (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module 'voxarray.transforms' has no attribute {name!r}")
    value = getattr(import_module(f"voxarray.transforms.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
