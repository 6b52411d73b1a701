"""The same preprocessing with SimpleITK's filters, and NumPy for the percentiles it lacks."""

from __future__ import annotations

import numpy as np
import SimpleITK

SHAPE = (256, 256, 256)


def run(source: str, destination: str) -> None:
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(source), "RAS")
    image = _cropped_or_padded(_resampled(image, 1.0))
    low, high = np.percentile(SimpleITK.GetArrayViewFromImage(image), (0.5, 99.5))
    image = SimpleITK.IntensityWindowing(image, low, high, 0.0, 1.0)
    SimpleITK.WriteImage(SimpleITK.Normalize(image), destination)


def _resampled(image: SimpleITK.Image, spacing: float) -> SimpleITK.Image:
    """On a grid of another spacing that fills the same box: the first centres differ."""
    before = np.array(image.GetSpacing())
    size = np.ceil(np.array(image.GetSize()) * before / spacing).astype(int)
    origin = image.TransformContinuousIndexToPhysicalPoint((spacing / before - 1) / 2)
    return SimpleITK.Resample(
        image,
        size.tolist(),
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        origin,
        [spacing] * 3,
        image.GetDirection(),
        0.0,
        SimpleITK.sitkFloat32,
    )


def _cropped_or_padded(image: SimpleITK.Image) -> SimpleITK.Image:
    missing = np.array(SHAPE) - image.GetSize()
    crop, pad = np.maximum(-missing, 0), np.maximum(missing, 0)
    image = SimpleITK.Crop(image, (crop // 2).tolist(), (crop - crop // 2).tolist())
    return SimpleITK.ConstantPad(image, (-(-pad // 2)).tolist(), (pad // 2).tolist(), 0.0)
