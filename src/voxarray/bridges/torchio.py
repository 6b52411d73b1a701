"""TorchIO 1.x images: the same classes, but voxels are handed over in RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxarray.core.keys import DATA, INTENSITY, LABEL, RESERVED
from voxarray.core.optional import import_optional

if TYPE_CHECKING:
    from voxarray.source.drawable import Fields, TensorLike

INSTALL = "torchio>=1,<2"


def to_torchio(image: TensorLike) -> Any:
    """A `torchio.ScalarImage`, `torchio.LabelMap` or `torchio.Image` with the same metadata.

    It shares the tensor if the image is loaded; otherwise the voxels are read for it. It has no
    path: where TorchIO loads a slice again from a path, it gets the whole file.

    Raises:
        MissingPackageError: If TorchIO is not installed.
        MemoryBudgetError: If the tensor needs more memory than allowed; nothing was read.
    """
    tio = import_optional("torchio", INSTALL)
    kinds = {INTENSITY: tio.ScalarImage, LABEL: tio.LabelMap}
    return kinds.get(image.type, tio.Image)(
        tensor=image.to_tensor(),
        affine=image.affine.copy(),
        check_nans=image.check_nans,
        type=image.type,
        **metadata(image),
    )


def arguments(image: Any) -> dict[str, Any]:
    """Arguments of `Image` that make the same of a TorchIO image.

    One that is not loaded is opened lazily from its path, with its own reader if it has one.

    Raises:
        MissingPackageError: If TorchIO is not installed.
        TypeError: For anything else than an image of TorchIO.
    """
    tio = import_optional("torchio", INSTALL)
    if not isinstance(image, tio.Image):
        raise TypeError(f"from_torchio takes a TorchIO image, not {type(image).__name__}")
    common = {"type": image.type, "check_nans": image.check_nans, **metadata(image)}
    if image.get(DATA) is not None:
        return {"tensor": image.data, "affine": image.affine, **common}
    has_own_reader = image.reader is not tio.data.io.read_image
    return {"path": image.path, "reader": image.reader if has_own_reader else None, **common}


def metadata(image: Fields) -> dict[str, Any]:
    """Fields of an image that are the user's."""
    return {key: value for key, value in image.items() if key not in RESERVED}
