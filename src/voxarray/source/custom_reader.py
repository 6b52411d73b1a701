"""Files in a format of the user's own, read by a function of the user's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, SourceChangedError, VoxarrayError
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source, digest
from voxarray.source.block_cache import BLOCKS

Reader = Callable[[Any], tuple[Any, Any]]
"""From a path to voxels (array or tensor) and an affine (4, 4) in RAS+ mm or None.

As in TorchIO, the path is a `pathlib.Path`; only a URL is text.
"""


def open_with(path: str, reader: Reader) -> Source:
    """What a reader makes of a path: lazily if it has ``open(path) -> Source``, else all at once.

    Raises:
        FormatError: If a function does not return voxels and an affine.
        VoxarrayError: What the reader finds wrong.
    """
    lazily = getattr(reader, "open", None)
    return lazily(path) if callable(lazily) else ReaderSource.open(path, reader)


@dataclass(frozen=True, eq=False, kw_only=True)
class ReaderSource(Source):
    """What a user's function makes of a file.

    The function returns all voxels or nothing, so it is called for the shape already. They are
    kept in the block cache; once pushed out of there, the next read calls it again.

    Attributes:
        path: Handed to the function.
        reader: The function.
        shape: (C, W, H, D).
        dtype: In native byte order.
        affine: (4, 4) voxel index to RAS+ mm.
    """

    path: str
    reader: Reader
    shape: Shape4
    dtype: np.dtype
    affine: NDArray[np.float64]
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def open(cls, path: str, reader: Reader) -> ReaderSource:
        """Call the reader to learn shape, type and affine.

        Raises:
            FormatError: If it does not return two things, or voxels that are no image.
            GridError: If its affine is none.
        """
        voxels, affine = _call(reader, path)
        c, w, h, d = voxels.shape
        source = cls(
            path=path, reader=reader, shape=(c, w, h, d), dtype=voxels.dtype, affine=affine
        )
        BLOCKS.get(source.token(), lambda: voxels)
        return source

    @property
    def chunks(self) -> Shape4:
        return self.shape

    def read(self, selection: Selection) -> NDArray:
        return BLOCKS.get(self.token(), self._read_again)[selection.slices()]

    def token(self) -> str:
        # Nothing tells whether two functions read alike.
        return digest("reader", self.path, self.name, self.affine)

    def _read_again(self) -> NDArray:
        voxels, affine = _call(self.reader, self.path)
        same = voxels.shape == self.shape and voxels.dtype == self.dtype
        if not same or not np.array_equal(affine, self.affine):
            raise SourceChangedError(
                f"the reader returned {self.dtype} voxels of shape {self.shape} for {self.path} "
                f"before; now they are {voxels.dtype} of {voxels.shape}, or placed elsewhere: "
                "open the image again",
                path=self.path,
            )
        return voxels


def as_4d(voxels: NDArray) -> NDArray:
    """Voxels of two to five dimensions as (C, W, H, D), by TorchIO's rules.

    (W, H) is one slice; (W, H, 3) and (3, W, H) are one slice of three channels, in this order of
    preference; other three sizes are (W, H, D); four are (C, W, H, D); five are NIfTI's
    (W, H, D, 1, C).

    Raises:
        FormatError: For other dimensions (code ``BAD_DIMS``).
    """
    if voxels.ndim == 2:
        return voxels[None, :, :, None]
    if voxels.ndim == 3 and voxels.shape[-1] == 3:
        return voxels.transpose(2, 0, 1)[..., None]
    if voxels.ndim == 3:
        return voxels[..., None] if voxels.shape[0] == 3 else voxels[None]
    if voxels.ndim == 5 and voxels.shape[3] == 1:
        return voxels[..., 0, :].transpose(3, 0, 1, 2)
    if voxels.ndim != 4:
        raise FormatError(
            f"a reader returns (W, H), (W, H, 3), (3, W, H), (W, H, D), (C, W, H, D) or "
            f"(W, H, D, 1, C), got {voxels.shape}",
            code="BAD_DIMS",
        )
    return voxels


def _call(reader: Reader, path: str) -> tuple[NDArray, NDArray[np.float64]]:
    """Read-only native voxels (C, W, H, D) and a valid affine."""
    result = reader(path if "://" in path else Path(path))
    if not isinstance(result, tuple) or len(result) != 2:
        raise FormatError(
            f"a reader returns (voxels, affine or None), got {type(result).__name__}",
            code="BAD_READER",
            path=path,
        )
    voxels, affine = result
    try:
        valid_affine = checked_affine(np.eye(4) if affine is None else np.asarray(affine))
        array = as_4d(np.asarray(voxels))
    except VoxarrayError as error:
        error.path = path
        raise
    array = array.astype(array.dtype.newbyteorder("="), copy=False)[...]
    array.flags.writeable = False  # this view of it: others may read from the cache, too
    return array, valid_affine
