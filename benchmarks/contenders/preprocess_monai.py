"""The same preprocessing with MONAI's transforms, as a training pipeline lists them."""

from __future__ import annotations

from monai.transforms import (
    Compose,
    LoadImage,
    NormalizeIntensity,
    Orientation,
    ResizeWithPadOrCrop,
    SaveImage,
    ScaleIntensityRangePercentiles,
    Spacing,
)


def run(source: str, destination: str) -> None:
    preprocess = Compose(
        [
            LoadImage(ensure_channel_first=True),
            Orientation("RAS", labels=None),
            Spacing(1.0, scale_extent=True),
            ResizeWithPadOrCrop((256, 256, 256)),
            ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True),
            NormalizeIntensity(),
        ]
    )
    save = SaveImage(resample=False, print_log=False, writer="NibabelWriter", output_ext=".nii")
    save(preprocess(source), filename=destination.removesuffix(".nii"))
