"""MONAI's tensors, which carry an affine in RAS+ and metadata."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.bridges.torchio import metadata
from voxarray.core.errors import GridError, StateError
from voxarray.core.optional import import_optional
from voxarray.geometry.grid import checked_affine

if TYPE_CHECKING:
    from voxarray.source.drawable import TensorLike


_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_meta_tensor(value: Any) -> bool:
    """Whether a value is MONAI's tensor with an affine; MONAI is not imported to find out."""
    kind = getattr(sys.modules.get("monai.data.meta_tensor"), "MetaTensor", None)
    return kind is not None and isinstance(value, kind)


def affine_of(tensor: Any) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ mm of a MetaTensor; the identity if it was given none.

    Raises:
        GridError: If the affine is invalid, or in an unknown space (``UNKNOWN_SPACE``).
        StateError: If lazy transforms are waiting to be applied (``PENDING_TRANSFORMS``).
    """
    if getattr(tensor, "has_pending_operations", False):
        number = len(tensor.pending_operations)
        raise StateError(
            f"the MetaTensor has pending lazy transforms of MONAI ({number}), which are not yet "
            "applied to its voxels and its affine: apply them first, with tensor, _ = "
            "monai.transforms.lazy.functional.apply_pending(tensor)",
            code="PENDING_TRANSFORMS",
        )
    affine = checked_affine(np.asarray(tensor.affine.cpu(), np.float64))
    return checked_affine(_LPS_TO_RAS @ affine) if _is_lps(tensor) else affine


def with_image(template: Any, image: TensorLike) -> Any:
    """A MetaTensor of an image, with the metadata and the axes of the world of another."""
    affine = _LPS_TO_RAS @ image.affine if _is_lps(template) else image.affine.copy()
    meta = {key: value for key, value in template.meta.items() if key != "affine"}
    meta["spatial_shape"] = np.array(image.spatial_shape)
    tensor = type(template)(image.to_tensor(), affine=affine, meta=meta)
    tensor.applied_operations = list(template.applied_operations)
    return tensor


def _is_lps(tensor: Any) -> bool:
    space = str(getattr(tensor.meta.get("space"), "value", tensor.meta.get("space") or "RAS"))
    if space not in ("RAS", "LPS"):
        raise GridError(
            f"the MetaTensor is placed in the space {space!r}: expected 'RAS' or 'LPS'; set "
            'meta["space"], or pass affine=',
            code="UNKNOWN_SPACE",
        )
    return space == "LPS"


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
