"""DICOM planes as one image; each is read when a voxel of it is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import OutOfRangeError
from voxarray.core.scaling import Scaling
from voxarray.formats.dicom.pixels import PixelFile
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest

MOST_BLOCKS = 4096
"""Blocks of one plane up to here; beyond, where dask's cost per task would show, of one volume."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DicomSource(Source):
    """A series of DICOM files, or one file.

    Attributes:
        path: Folder or file that was opened.
        files: The files.
        planes: (V, D, 2) file and frame of every slice of every volume; a file below 0 stands for
            a plane without content.
        scalings: Distinct slopes and intercepts; None if no plane has any.
        scaling_of: (V, D) number of the scaling of each plane.
        affine: (4, 4) voxel index to RAS+ mm.
        channels: What C counts.
        facts: Of the acquisition; see `voxarray.formats.dicom.acquisition`.
        is_scaled: Whether `read` applies a slope and intercept that all planes share.
        series_uid: Series Instance UID of the first file.
        without_pixels: Number of files in the folder that hold no pixels, such as reports.
    """

    path: str
    files: tuple[PixelFile, ...]
    planes: NDArray[np.intp]
    scalings: tuple[Scaling, ...] | None
    scaling_of: NDArray[np.intp]
    affine: NDArray[np.float64]
    channels: Channels
    facts: dict[str, Any]
    is_scaled: bool = True
    series_uid: str = field(default="", repr=False)
    without_pixels: int = field(default=0, repr=False)

    @property
    def shape(self) -> Shape4:
        layout = self.files[0].layout
        volumes, depth = self.planes.shape[:2]
        return volumes * layout.samples, layout.columns, layout.rows, depth

    @property
    def metadata(self) -> Mapping[str, Any]:
        return MappingProxyType(self.facts)

    @property
    def stored(self) -> np.dtype:
        """Type of the numbers in the files."""
        return self.files[0].layout.dtype

    @property
    def dtype(self) -> np.dtype:
        scalings = self._applied
        return self.stored if scalings is None else scalings[0].dtype(self.stored)

    @property
    def scaling(self) -> Scaling | None:
        """The slope and intercept of all planes; None if there are none, or they differ."""
        applied = self._applied
        return applied[0] if applied is not None and len(applied) == 1 else None

    @property
    def chunks(self) -> Shape4:
        channels, width, height, depth = self.shape
        layout = self.files[0].layout
        # The tiles of a mosaic share their rows of pixels, so that they are read together.
        is_single = not layout.is_tiled and channels * depth <= MOST_BLOCKS
        return layout.samples, width, height, 1 if is_single else depth

    @property
    def reading_bytes(self) -> int:
        """What is read at once, a plane as its file has it, and the same plane decoded."""
        return super().reading_bytes + 2 * self.files[0].layout.plane_bytes

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of the files."""
        return sum(file.identity.size for file in self.files)

    def unscaled(self) -> DicomSource:
        return self if self.scaling is None else replace(self, is_scaled=False)

    def token(self) -> str:
        return digest("dicom", self._digest, self.is_scaled)

    def read(self, selection: Selection) -> NDArray:
        """Voxels of the selection, a (C, W, H, D) view of (C, D, H, W) memory.

        Raises:
            OutOfRangeError: The selection reaches beyond the image.
            SourceChangedError: A file is not the one that was opened.
            TruncatedError: A file ends before its pixels do.
            FormatError: Pixels cannot be decoded.
        """
        channels, columns, rows, slices = (r if r.step > 0 else r[::-1] for r in selection)
        box = (channels, columns, rows, slices)
        if any(r[0] < 0 or r[-1] >= n for r, n in zip(box, self.shape, strict=True)):
            raise OutOfRangeError(
                f"{selection} reaches beyond an image of {self.shape}", path=self.path
            )
        voxels = np.empty([len(r) for r in (channels, slices, rows, columns)], self.dtype)
        for volume, samples, first in self._volumes(channels):
            part = voxels[first : first + len(samples)]
            self._read_volume(volume, slices, (samples, rows, columns), part)
        flips = [slice(None, None, 1 if r.step > 0 else -1) for r in selection]
        return voxels[flips[0], flips[3], flips[2], flips[1]].transpose(0, 3, 2, 1)

    def _volumes(self, channels: range) -> list[tuple[int, range, int]]:
        """Volumes that hold the channels, which samples of theirs, and where those go."""
        count = self.files[0].layout.samples
        if count == 1:
            return [(channel, range(1), n) for n, channel in enumerate(channels)]
        return [(0, channels, 0)]  # colours make one volume, of as many channels

    def _read_volume(self, volume: int, slices: range, box: Sequence[range], out: NDArray) -> None:
        """Fill (samples, slices, rows, columns) with planes; each file is opened once."""
        positions_by_file: dict[int, list[int]] = {}
        for n, z in enumerate(slices):
            positions_by_file.setdefault(int(self.planes[volume, z, 0]), []).append(n)
        for file, positions in positions_by_file.items():
            if file < 0:
                out[:, positions] = 0
                continue
            frames = [int(self.planes[volume, slices[n], 1]) for n in positions]
            parts = self.files[file].planes(frames, box)
            for n, part in zip(positions, parts, strict=True):
                out[:, n] = self._intensities(part, volume, slices[n])
            del part, parts  # not the planes of two files at a time

    def _intensities(self, pixels: NDArray, volume: int, z: int) -> NDArray:
        applied = self._applied
        if applied is None:
            return pixels
        return applied[int(self.scaling_of[volume, z])].apply(pixels)

    @property
    def _applied(self) -> tuple[Scaling, ...] | None:
        return self.scalings if self.is_scaled else None

    @functools.cached_property
    def _digest(self) -> str:
        identities = [file.identity for file in self.files]
        return digest(identities, self.planes, self.scalings, self.scaling_of, self.affine)
