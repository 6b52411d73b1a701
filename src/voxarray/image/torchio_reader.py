"""TorchIO's images with voxarray as their reader: all formats and archives, lazily in TorchIO 2."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.image.scalar_image import ScalarImage

if TYPE_CHECKING:
    import torch

Index = int | slice | Any
"""An integer, a slice, an ellipsis, or a tuple of them over (C, W, H, D)."""


class TorchioReader:
    """Reads for TorchIO what voxarray opens: ``tio.ScalarImage(path, reader=vx.TorchioReader())``.

    TorchIO 1.x is given all voxels when it loads the image. TorchIO 2 asks for shape, affine and
    slices: only those are read, when it asks.

    Examples:
        >>> import torchio as tio
        >>> vx.testing.sample().save("scan.ome.zarr")
        >>> tio.ScalarImage("scan.ome.zarr", reader=vx.TorchioReader()).shape
        (1, 64, 56, 48)

    Args:
        level: Level of an archive's pyramid; 0 is the full resolution.
    """

    def __init__(self, *, level: int = 0) -> None:
        self.level = level

    def __call__(self, path: str | os.PathLike[str]) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """All voxels (C, W, H, D), and the affine (4, 4) to mm in RAS+.

        Raises:
            VoxarrayError: If the file cannot be opened or read.
        """
        image = self._opened(path)
        return image.data, image.affine.copy()  # which is the caller's to change

    def create_backend(self, request: Any) -> TorchioBackend:
        """The object that TorchIO 2 asks for shape, affine and slices; nothing is read.

        Args:
            request: TorchIO's ``BackendRequest``, whose affine replaces the file's.

        Raises:
            VoxarrayError: If the file cannot be opened.
        """
        image = self._opened(request.path)
        if request.affine is not None:
            image.affine = np.asarray(request.affine)
        return TorchioBackend(image)

    def _opened(self, path: str | os.PathLike[str]) -> ScalarImage:
        image = ScalarImage(path)
        return image.level(self.level) if self.level else image


class TorchioBackend:
    """TorchIO 2's ``ImageDataBackend`` of an image.

    Args:
        image: Whose voxels are handed out.
    """

    def __init__(self, image: ScalarImage) -> None:
        self._image = image

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, W, H, D)."""
        return self._image.shape

    @property
    def affine(self) -> torch.Tensor:
        """(4, 4) float64, from voxels to mm in RAS+."""
        from voxarray.tensors.convert import copied

        return copied(self._image.affine)

    @property
    def dtype(self) -> np.dtype:
        """Type of the voxels."""
        return self._image.dtype

    def __getitem__(self, index: Index) -> torch.Tensor:
        """Voxels of a selection, always of four axes; no others are read."""
        items = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in items:
            items = (*items, Ellipsis)
        position = items.index(Ellipsis)
        missing = 4 - (len(items) - 1)
        full_index = (*items[:position], *[slice(None)] * missing, *items[position + 1 :])
        part: torch.Tensor = self._image[full_index].data
        return part

    def to_tensor(self) -> torch.Tensor:
        """All voxels."""
        voxels: torch.Tensor = self._image.data
        return voxels.clone()
