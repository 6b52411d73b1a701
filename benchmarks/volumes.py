"""The scans that are measured on: phantoms of fixed seeds, written once under ``.bench/data``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from environments import BENCH
from voxarray.geometry.selection import Shape3
from voxarray.testing.synthetic import Phantom, write_nifti

SEED = 20240501
SPACING = 0.5

Box = tuple[slice, slice, slice]


def phantom(kind: str, shape: Shape3, spacing: float = SPACING) -> Phantom:
    return Phantom(shape, kind, SEED, spacing)  # type: ignore[arg-type]  # "head" or "noisy"


def scan(volume: Phantom, suffix: str = ".nii.gz") -> Path:
    """The file of a phantom, written if it is not there yet."""
    size = "x".join(map(str, volume.shape))
    spacing = "" if volume.spacing == SPACING else f"-{volume.spacing:g}mm"
    path = BENCH / "data" / f"{volume.kind}-{size}{spacing}-{volume.seed}{suffix}"
    if not path.exists():
        print(f"writing {path.name}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("partial-" + path.name)
        write_nifti(volume, partial)
        partial.rename(path)
    return path


def boxes(size: int, patch: int, count: int) -> list[Box]:
    """Patches anywhere in a cube, the same for every reader."""
    starts = np.random.default_rng(SEED).integers(0, size - patch + 1, (count, 3))
    return [tuple(slice(int(s), int(s) + patch) for s in row) for row in starts]  # type: ignore[misc]


def check_of(volume: Phantom) -> Callable[[Path], None]:
    """A check that the largest array of a Zarr store, or a ``.npy``, is the volume.

    In whatever axis order.
    """
    depth = volume.shape[2]
    planes = {z: volume.planes(z, z + 1)[0] for z in (0, depth // 3, depth - 1)}

    def check(store: Path) -> None:
        array = _largest_array(store)
        assert sorted(array.shape[-3:]) == sorted(volume.shape), f"shape is {array.shape}"
        single = (0,) * (array.ndim - 3)  # axes of time and channel
        for z, plane in planes.items():
            # Written (z, y, x) or (x, y, z); of a cube only the voxels tell which.
            candidates = [array[*single, z]] if array.shape[-3] == depth else []
            candidates += [array[*single, ..., z].T] if array.shape[-1] == depth else []
            assert any(np.array_equal(f, plane) for f in candidates), f"plane {z} is not the scan's"

    return check


def _largest_array(store: Path) -> zarr.Array | np.ndarray:
    if store.suffix == ".npy":
        return np.load(store, mmap_mode="r")
    root = zarr.open(store, mode="r")
    if isinstance(root, zarr.Array):
        return root
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files beside the hierarchy, such as a manifest
        arrays = [node for _, node in root.members(None) if isinstance(node, zarr.Array)]
    return max(arrays, key=lambda array: array.size)
