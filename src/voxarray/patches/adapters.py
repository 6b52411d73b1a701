"""Transforms of TorchIO and MONAI, applied to patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from voxarray.core.keys import AFFINE, DATA, INTENSITY, LABEL, TYPE
from voxarray.core.optional import import_optional

Patch = dict[str, Any]


class TorchIOTransform:
    """Wraps a transform of TorchIO 1.x for the patches of a `PatchDataset`.

    The transform is given a `torchio.Subject` with images of the same types, so that intensity
    transforms leave label maps alone; the images that it returns replace those of the patch.

    Examples:
        >>> scan = vx.testing.sample()
        >>> import torchio as tio
        >>> clamped = vx.TorchIOTransform(tio.Clamp(out_max=100))
        >>> subjects, sampler = [vx.Subject(t1=scan)], vx.UniformSampler(16)
        >>> patches = vx.PatchDataset(subjects, sampler, transform=clamped)
        >>> float(patches[0]["t1"]["data"].max()) <= 100
        True

    Args:
        transform: A transform of TorchIO.

    Raises:
        MissingPackageError: When it is called and TorchIO is not installed.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, patch: Patch) -> Patch:
        tio = import_optional("torchio", "torchio>=1,<2")
        kinds = {INTENSITY: tio.ScalarImage, LABEL: tio.LabelMap}
        images = {
            name: kinds.get(image[TYPE], tio.Image)(
                tensor=image[DATA], affine=image[AFFINE], type=image[TYPE]
            )
            for name, image in _images(patch).items()
        }
        result = self.transform(tio.Subject(images))
        return _with_images(
            patch, {name: (result[name].data, result[name].affine) for name in images}
        )


class MonaiTransform:
    """Wraps a dictionary transform of MONAI, ``RandFlipd(keys=["t1"])``, for a `PatchDataset`.

    The transform is given a dict of `monai.data.MetaTensor` by the names of the images; the tensors
    that it returns replace those of the patch. Random transforms are seeded for each patch by seed,
    epoch and index.

    Examples:
        >>> scan = vx.testing.sample()
        >>> from monai.transforms import ScaleIntensityd
        >>> scaled = vx.MonaiTransform(ScaleIntensityd(keys=["t1"]))
        >>> subjects, sampler = [vx.Subject(t1=scan)], vx.UniformSampler(16)
        >>> patches = vx.PatchDataset(subjects, sampler, transform=scaled)
        >>> float(patches[0]["t1"]["data"].max())
        1.0

    Args:
        transform: A dictionary transform of MONAI, which has ``keys``.

    Raises:
        MissingPackageError: When it is called and MONAI is not installed.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def set_random_state(self, seed: int) -> None:
        """Seed the random numbers of the transform."""
        if hasattr(self.transform, "set_random_state"):
            self.transform.set_random_state(seed=seed)

    def __call__(self, patch: Patch) -> Patch:
        MetaTensor = import_optional("monai.data.meta_tensor", "monai").MetaTensor
        tensors = {
            name: MetaTensor(image[DATA], affine=image[AFFINE])
            for name, image in _images(patch).items()
        }
        result = self.transform(tensors)
        return _with_images(
            patch,
            {n: (result[n].as_tensor(), np.asarray(result[n].affine, float)) for n in tensors},
        )


def _images(patch: Patch) -> Patch:
    return {name: image for name, image in patch.items() if isinstance(image, dict)}


def _with_images(patch: Patch, replacements: dict[str, tuple[Any, Any]]) -> Patch:
    """A patch of the same class with other voxels and affines."""
    changed = {
        name: {**patch[name], DATA: data, AFFINE: affine}
        for name, (data, affine) in replacements.items()
    }
    return type(patch)({**patch, **changed})
