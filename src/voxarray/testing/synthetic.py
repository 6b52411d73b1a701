"""Synthetic scans for tests, of any size, made slab by slab.

A `Phantom` hands out planes in disk order (D, H, W), each a function of the seed and its position
alone, so a volume is the same however thick the slabs are, and `write_nifti` can write 4 GiB while
it holds a few planes.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.geometry.selection import Shape3

_WAVES = 12
_SLAB_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Phantom:
    """An ellipsoid of smooth texture and measurement noise, int16.

    Examples:
        >>> phantom = vx.testing.Phantom((64, 64, 32), spacing=3.0)
        >>> phantom.planes(0, 2).shape
        (2, 64, 64)

    Attributes:
        shape: (W, H, D).
        kind: ``"head"``: air is exactly zero, as in a scan whose background was masked, and noise
            is mild. ``"noisy"``: strong noise everywhere, which no codec can compress.
        seed: Seed of texture and noise.
        spacing: Distance between voxel centres, mm.
    """

    shape: Shape3
    kind: Literal["head", "noisy"] = "head"
    seed: int = 0
    spacing: float = 0.5

    @property
    def dtype(self) -> np.dtype:
        """int16, as scanners write."""
        return np.dtype(np.int16)

    @property
    def affine(self) -> NDArray[np.float64]:
        """RAS+ axes, world origin in the middle of the volume."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = [-(n - 1) / 2 * self.spacing for n in self.shape]
        return affine

    def planes(self, start: int, stop: int) -> NDArray[np.int16]:
        """Planes ``start <= z < stop``, shape (stop - start, H, W)."""
        width, height, _ = self.shape
        out = np.empty((stop - start, height, width), np.int16)
        x, y, depth = (np.linspace(-1, 1, n, dtype=np.float32) for n in self.shape)
        across, along, deep = (_Waves.of(self.seed, axis) for axis in range(3))
        columns, rows = across.at(x).T, along.at(y)
        radius = (x / 0.8) ** 2 + (y[:, None] / 0.9) ** 2
        for plane, z in zip(out, range(start, stop), strict=True):
            ellipsoid = radius + (depth[z] / 0.9) ** 2 < 1
            # A sum of products of waves along x, y and z is one product of small matrices.
            texture = (rows * deep.at(depth[z : z + 1])) @ columns
            noise = _random(self.seed, z).standard_normal(ellipsoid.shape, dtype=np.float32)
            noise *= 6 * ellipsoid if self.kind == "head" else 150
            plane[...] = (np.where(ellipsoid, 600 + 40 * texture, 0) + noise).round()
        return out


@dataclass(frozen=True, slots=True)
class _Waves:
    """Random frequencies and phases of the cosines along one axis."""

    frequencies: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def of(cls, seed: int, axis: int) -> _Waves:
        rng = _random(seed, -1 - axis)
        return cls(rng.uniform(1, 20, _WAVES), rng.uniform(0, 2 * np.pi, _WAVES))

    def at(self, positions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Their values, shape (positions, `_WAVES`)."""
        waves = np.cos(positions[:, None] * self.frequencies + self.phases)
        return waves.astype(np.float32)


def write_nifti(volume: Phantom, path: str | os.PathLike[str], *, level: int = 1) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, a few planes in memory at a time.

    Examples:
        >>> vx.testing.write_nifti(vx.testing.Phantom((64, 64, 32)), "phantom.nii.gz")
        >>> vx.ScalarImage("phantom.nii.gz").shape
        (1, 64, 64, 32)

    Args:
        volume: What to write.
        path: Ends in ``.nii`` or ``.nii.gz``.
        level: Effort of gzip, 1 to 9; 1 is what nibabel writes with. Equal volumes give equal
            files, for no time or name is written into the stream.
    """
    width, height, depth = volume.shape
    thickness = max(1, _SLAB_BYTES // (width * height * volume.dtype.itemsize))
    with _sink(Path(path), level) as file:
        file.write(_header(volume))
        for start in range(0, depth, thickness):
            slab = volume.planes(start, min(start + thickness, depth))
            file.write(np.ascontiguousarray(slab, volume.dtype).data)


def _header(volume: Phantom) -> bytes:
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(volume.shape)
    header.set_data_dtype(volume.dtype)
    header.set_sform(volume.affine, code="scanner")
    header.set_qform(volume.affine, code="scanner")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_xyzt_units("mm")
    block: bytes = header.binaryblock
    return block + bytes(4)  # no extensions


@contextmanager
def _sink(path: Path, level: int) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        if path.name.endswith(".nii"):
            yield file
        elif path.name.endswith(".nii.gz"):
            with gzip.GzipFile("", "wb", level, file, mtime=0) as compressed:
                yield compressed  # type: ignore[misc]  # a writer, though no IO by name
        else:
            raise UnsupportedError(f"{path.name} is neither .nii nor .nii.gz", path=path)


def _random(seed: int, number: int) -> np.random.Generator:
    key = np.array([seed, number % (1 << 64)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
