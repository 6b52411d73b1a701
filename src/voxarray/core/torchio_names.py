"""What TorchIO has under a name and voxarray does not, with what to use instead.

One table for the error of a name that is not there and for the page on migration.
"""

from __future__ import annotations

_AUGMENTATION = (
    "augmentation is left to TorchIO and MONAI: vx.TorchIOTransform(tio.{name}(...)) applies it to "
    "patches, and tio.{name}(...)(image.to_torchio()) to whole images"
)

_RANDOM = (
    *("RandomAffine", "RandomAnisotropy", "RandomBiasField", "RandomBlur"),
    *("RandomAffineElasticDeformation", "RandomElasticDeformation", "RandomFlip"),
    *("RandomGamma", "RandomGhosting", "RandomLabelsToImage", "RandomMotion"),
    *("RandomNoise", "RandomSpike", "RandomSwap", "RandomTransform", "RandomCrop", "OneOf"),
)

_DETERMINISTIC = (
    *("BiasField", "ElasticDeformation", "Gamma", "Ghosting", "LabelsToImage", "Motion", "Noise"),
    *("Spike", "Swap", "Anisotropy", "AffineElasticDeformation", "FourierTransform"),
)

_DOWNLOADS = "download data sets with torchio.datasets, or with the tools of those who publish them"

INSTEAD: dict[str, str] = {
    **{name: _AUGMENTATION.format(name=name) for name in (*_RANDOM, *_DETERMINISTIC)},
    "SubjectsDataset": "use a list of vx.Subject, or vx.Cohort for a folder of archives; "
    "torch.utils.data.DataLoader takes both",
    "SubjectsLoader": "torch.utils.data.DataLoader takes subjects; for patches, give it a "
    "vx.PatchDataset",
    "Queue": "vx.PatchDataset or vx.IterablePatchDataset with a torch.utils.data.DataLoader: "
    "patches are read when they are drawn, so no queue is needed",
    "CopyAffine": "set the affine: image.affine = other.affine",
    "PCA": "use sklearn.decomposition.PCA on image.array",
    "ImagesDataset": "TorchIO calls it SubjectsDataset now: use a list of vx.Subject",
    "datasets": _DOWNLOADS,
    "utils": "public names are in vx itself: see dir(vx)",
    "data": "classes are in vx itself, such as vx.ScalarImage",
    "io": "readers and writers are chosen by suffix: vx.open_source(path) and image.save(path)",
    **{
        name: f"vx.transforms.{name}"
        for name in ("IntensityTransform", "LabelTransform", "SpatialTransform")
    },
    "MonaiAdapter": "vx.MonaiTransform applies transforms of MONAI to patches",
    "ToReferenceSpace": "vx.Resample(reference)",
    "train_histogram": "vx.HistogramStandardization.train",
    "LOCATION": 'the key is the string "location"',
    "HISTORY": "image.history",
    "IMAGE": 'the key of a single image is the string "image"',
    "TENSOR": "image.data",
    "CHANNELS_DIMENSION": "channels are axis 0",
    "NUM_SAMPLES": "patches_per_image= of vx.PatchDataset",
    "sampler": "samplers are in vx itself, such as vx.UniformSampler",
    "inference": "vx.GridSampler and vx.GridAggregator",
    "download": _DOWNLOADS,
}
"""Advice by name."""


def advice(name: str) -> str:
    """What to use instead of a name of TorchIO; empty if it has none of that name."""
    text = INSTEAD.get(name, "")
    if not text and name.startswith("Random"):
        return _AUGMENTATION.format(name=name)
    return text
