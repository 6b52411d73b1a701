"""MONAI's ``LoadImage`` with voxarray as its reader: every format, and archives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.core.optional import import_optional
from voxarray.formats.registry import open_source
from voxarray.source.materialise import materialise


class MonaiReader:
    """Reads for MONAI what voxarray opens: ``LoadImage(reader=vx.MonaiReader())``.

    Arrays and metadata have the form that MONAI's NibabelReader gives, which ``LoadImage`` and
    ``EnsureChannelFirst`` understand: (W, H, D), channels last, affine to RAS+ mm.

    Examples:
        >>> from monai.transforms import LoadImage
        >>> vx.testing.sample().save("scan.nii.gz")
        >>> tuple(LoadImage(reader=vx.MonaiReader())("scan.nii.gz").shape)
        (64, 56, 48)

    Args:
        level: Level of an archive's pyramid; 0 is the full resolution.

    Raises:
        MissingPackageError: If MONAI is not installed.
    """

    def __init__(self, *, level: int = 0) -> None:
        base = import_optional("monai.data.image_reader", "monai").ImageReader
        base.register(type(self))  # LoadImage asks for one of its own
        self.level = level

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """True for all files; `read` raises an error for files that it cannot open."""
        return bool(filename)

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> Any:  # noqa: ARG002  # as MONAI
        """Open files lazily; nothing is read.

        Args:
            data: Path or paths.
            **kwargs: Arguments of MONAI; ignored.

        Raises:
            VoxarrayError: If one cannot be opened.
        """
        if isinstance(data, (str, os.PathLike)):
            return open_source(data).level(self.level)
        return [open_source(path).level(self.level) for path in data]

    def get_data(self, img: Any) -> tuple[NDArray, dict[str, Any]]:
        """Voxels and metadata of what `read` opened.

        Raises:
            VoxarrayError: If a file is damaged or cannot be read.
            GridError: If several files are on different grids (``GRIDS_DIFFER``).
        """
        sources = img if isinstance(img, (list, tuple)) else [img]
        first = sources[0]
        if any(not source.grid.isclose(first.grid) for source in sources[1:]):
            raise GridError(
                "the files are on different grids, but MONAI makes them channels of one image: "
                "resample them onto one first",
                code="GRIDS_DIFFER",
                path=first.path,
            )
        read = [materialise(source, source.dtype) for source in sources]
        voxels = read[0] if len(read) == 1 else np.concatenate(read)
        several = len(voxels) > 1
        array = np.moveaxis(voxels, 0, -1) if several else voxels[0]
        meta = {
            "affine": first.affine.copy(),
            "original_affine": first.affine.copy(),
            "spatial_shape": np.array(first.shape[1:]),
            "original_channel_dim": -1 if several else "no_channel",
            "space": "RAS",
            "filename_or_obj": first.path or "",
        }
        return array, meta
