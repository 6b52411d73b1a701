"""MONAI's tensors, which carry an affine in RAS+ and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.bridges.torchio import metadata
from voxarray.core.optional import import_optional

if TYPE_CHECKING:
    from voxarray.source.drawable import TensorLike


def to_monai(image: TensorLike) -> Any:
    """A `monai.data.MetaTensor` (C, W, H, D), as MONAI's ``LoadImage`` makes them.

    It shares the tensor if the image is loaded; otherwise the voxels are read for it.

    Raises:
        MissingPackageError: If MONAI is not installed.
        MemoryBudgetError: If the tensor needs more memory than allowed; nothing was read.
    """
    MetaTensor = import_optional("monai.data.meta_tensor", "monai").MetaTensor
    tensor = image.to_tensor()
    meta = {
        **metadata(image),
        # What the affine was before any transform; MONAI's inverses start from it.
        "original_affine": image.affine.copy(),
        "spatial_shape": np.array(image.spatial_shape),
        "original_channel_dim": 0,
        "space": "RAS",
    }
    if image.path is not None and not isinstance(image.path, list):
        meta["filename_or_obj"] = str(image.path)
    return MetaTensor(tensor, affine=image.affine.copy(), meta=meta)
