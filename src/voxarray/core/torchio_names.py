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

INSTEAD: dict[str, str] = {
    **{name: _AUGMENTATION.format(name=name) for name in (*_RANDOM, *_DETERMINISTIC)},
    "SubjectsDataset": "a list of vx.Subject is a dataset: torch.utils.data.DataLoader takes it, "
    "and vx.Cohort is one of a folder of archives",
    "SubjectsLoader": "torch.utils.data.DataLoader takes subjects; for patches give it a "
    "vx.PatchDataset",
    "Queue": "vx.PatchDataset or vx.IterablePatchDataset with a torch.utils.data.DataLoader: "
    "patches are read when they are drawn, so that nothing has to be queued",
    "CopyAffine": "set it: image.affine = other.affine",
    "PCA": "an array of features: image.array, and sklearn.decomposition.PCA",
    "ImagesDataset": "TorchIO calls it SubjectsDataset now: use a list of vx.Subject",
    "datasets": "data sets are downloaded with torchio.datasets, or the tools of their owners",
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
    "LOCATION": 'the key is the text "location"',
    "HISTORY": "image.history",
    "IMAGE": 'the key of a lone image is the text "image"',
    "TENSOR": "image.data",
    "CHANNELS_DIMENSION": "channels are axis 0",
    "NUM_SAMPLES": "patches_per_image= of vx.PatchDataset",
    "sampler": "samplers are in vx itself, such as vx.UniformSampler",
    "inference": "vx.GridSampler and vx.GridAggregator",
    "download": "data sets are downloaded with torchio.datasets, or the tools of their owners",
}
"""Advice by name."""


def advice(name: str) -> str:
    """What to use instead of a name of TorchIO; empty if it has none of that name."""
    text = INSTEAD.get(name, "")
    if not text and name.startswith("Random"):
        return _AUGMENTATION.format(name=name)
    return text
