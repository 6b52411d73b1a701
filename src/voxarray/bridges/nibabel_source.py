"""Array proxies of nibabel as sources: whatever nibabel can index without loading."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, OriginalHeader, Source, digest
from voxarray.source.block_cache import BLOCKS
from voxarray.source.slabs import SLAB_BYTES, Slabs
from voxarray.storage.file_identity import FileIdentity

_COMPRESSED = (".gz", ".bz2", ".zst", ".mgz")


@dataclass(frozen=True, eq=False, kw_only=True)
class ProxySource(Source):
    """Voxels that nibabel reads, scales and decompresses.

    A compressed file is one block, kept in the block cache, because nibabel decodes it from its
    beginning for any part.

    Attributes:
        proxy: nibabel's ``dataobj``, two to five axes.
        dtype: Type of the voxels, slope and intercept applied.
        affine: (4, 4) voxel index to RAS+ mm.
        channels: What C counts.
        identity: The file as it was, None where the proxy does not name one.
        origin: The image's NIfTI header, if it has one.
    """

    proxy: Any
    dtype: np.dtype
    affine: NDArray[np.float64]
    channels: Channels
    identity: FileIdentity | None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    origin: OriginalHeader | None = None

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    @classmethod
    def of(
        cls, proxy: Any, stored: np.dtype, affine: NDArray[np.float64], channels: Channels
    ) -> ProxySource:
        """Describe a proxy; one voxel is read where it does not tell its slope.

        Args:
            proxy: A ``dataobj``.
            stored: Type of the numbers in the file, of which the type of scaled ones follows.
            affine: As in `ProxySource`.
            channels: As in `ProxySource`.

        Raises:
            UnsupportedError: As `from_nibabel`.
        """
        as_4d(proxy.shape)
        stored = np.dtype(stored).newbyteorder("=")
        file = getattr(proxy, "file_like", None)
        identity = FileIdentity.of(file) if isinstance(file, str) else None
        require_numbers(stored)
        dtype = Scaling(2, 0).dtype(stored) if _is_scaled(proxy, stored) else stored
        return cls(proxy=proxy, dtype=dtype, affine=affine, channels=channels, identity=identity)

    @property
    def shape(self) -> Shape4:
        return as_4d(self.proxy.shape)

    @property
    def chunks(self) -> Shape4:
        if self._is_compressed:
            return self.shape
        c, w, h, d = self.shape
        c, d, h, w = Slabs.of((c, d, h, w), self.dtype.itemsize, SLAB_BYTES).largest
        return c, w, h, d

    @property
    def path(self) -> str | None:
        return None if self.identity is None else self.identity.path

    def read(self, selection: Selection) -> NDArray:
        """As `Source.read`.

        Raises:
            SourceChangedError: The file is not the one that was opened.
        """
        self._check()
        if self._is_compressed:
            voxels = BLOCKS.get(self.token(), lambda: self._cut(Selection.whole(self.shape)))
            return voxels[selection.slices()]
        return self._cut(selection)

    def token(self) -> str:
        return digest("nibabel", self.identity, self.name, self.affine)

    @property
    def _is_compressed(self) -> bool:
        return self.path is not None and self.path.lower().endswith(_COMPRESSED)

    def _check(self) -> None:
        if self.identity is not None:
            os.close(self.identity.open())

    def _cut(self, selection: Selection) -> NDArray:
        channels, *spatial = selection.slices()
        count = len(self.proxy.shape)
        items = (*spatial[: min(count, 3)], *((0,) if count == 5 else ()), channels)
        voxels = np.asarray(self.proxy[items[:count]])
        self._check()
        # What nibabel mapped is copied: a file that is cut short would end the process.
        copied = np.array(voxels, self.dtype, order="K", copy=_is_mapped(voxels) or None)
        return channels_first(copied[:, :, :, None] if count == 5 else copied)


def require_numbers(dtype: np.dtype) -> None:
    """Refuse RGB and other records.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
    """
    if dtype.kind not in "biufc":
        raise UnsupportedError(
            f"voxels of type {dtype} are not numbers: split RGB into channels first",
            code="UNSUPPORTED_DTYPE",
        )


def as_4d(shape: tuple[int, ...]) -> Shape4:
    """(C, W, H, D) of an array as nibabel orders its axes.

    Raises:
        UnsupportedError: If there is none (``BAD_DIMS``).
    """
    sizes = [int(n) for n in shape]
    if not 2 <= len(sizes) <= 5 or (len(sizes) == 5 and sizes[3] != 1) or 0 in sizes:
        raise UnsupportedError(
            f"an image has the shape {tuple(shape)}, which is none of (W, H), (W, H, D), (W, H, "
            "D, C) and (W, H, D, 1, C): select or join axes first",
            code="BAD_DIMS",
        )
    w, h = sizes[:2]
    d = sizes[2] if len(sizes) > 2 else 1
    return (sizes[-1] if len(sizes) > 3 else 1), w, h, d


def channels_first(voxels: NDArray) -> NDArray:
    """(C, W, H, D) view of an array as nibabel orders its axes."""
    as_4d(voxels.shape)
    if voxels.ndim < 4:
        return voxels[None] if voxels.ndim == 3 else voxels[None, :, :, None]
    last = voxels[:, :, :, 0] if voxels.ndim == 5 else voxels
    return np.moveaxis(last, -1, 0)


def _is_scaled(proxy: Any, stored: np.dtype) -> bool:
    slope, intercept = getattr(proxy, "slope", None), getattr(proxy, "inter", None)
    if slope is None or intercept is None:
        return bool(proxy[(0,) * len(proxy.shape)].dtype != stored)
    return (slope, intercept) != (1, 0)


def _is_mapped(voxels: NDArray) -> bool:
    base: Any = voxels
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return base is not None
