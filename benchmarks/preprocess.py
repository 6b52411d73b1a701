"""How long preprocessing a scan takes and how much memory, against libraries that do the same.

python benchmarks/preprocess.py [--sizes 160 512] [--rounds 3] [--large]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import zarr

import volumes
import voxarray as vx
from environments import OWN
from harness import Contender, in_turns, save

VOXARRAY = Contender("voxarray, to an archive", "preprocess_voxarray")
TORCHIO = Contender(
    "TorchIO 1.2.1, to a .nii",
    "preprocess_torchio1",
    leaves_out="compression, pyramid, checksums, verification, fsync",
    suffix=".nii",
)
SIMPLEITK = Contender(
    "SimpleITK, to a .nii",
    "preprocess_simpleitk",
    leaves_out="compression, pyramid, checksums, verification, history, fsync",
    suffix=".nii",
)
MONAI = Contender(
    "MONAI, to a .nii",
    "preprocess_monai",
    leaves_out="compression, pyramid, checksums, verification, history, fsync",
    suffix=".nii",
)
DASK_IMAGE = Contender(
    "nibabel + dask-image, to Zarr",
    "preprocess_dask_image",
    "daskimage",
    "pyramid, shards, checksums, verification, all metadata, history, fsync",
    suffix=".zarr",
)
CONTENDERS = (VOXARRAY, TORCHIO, SIMPLEITK, MONAI, DASK_IMAGE)

SIZES = (160, 512)
TINY = (32, 32, 32)

EXTENT = 72
"""Least mm along a side: what is smaller fills under 0.5 % of the 256³ mm it is padded to, and then
both percentiles are 0, which some divide by."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="voxels along a side")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender")
    parser.add_argument("--large", action="store_true", help="also a scan of 4 GiB")
    options = parser.parse_args(arguments)
    content: dict[str, Any] = {
        str(size): {
            suffix: _compared((size,) * 3, suffix, CONTENDERS, options.rounds)
            for suffix in (".nii", ".nii.gz")
        }
        for size in options.sizes
    }
    if options.large:
        content["four_gib"] = {
            suffix: _compared((1024, 1024, 2048), suffix, (VOXARRAY,), 1)
            for suffix in (".nii", ".nii.gz")
        }
    used = (OWN, *(c.environment for c in CONTENDERS))
    save("preprocess", content, used, trial=tuple(options.sizes) != SIZES)


def _compared(
    shape: tuple[int, int, int], suffix: str, contenders: Sequence[Contender], rounds: int
) -> list[dict[str, Any]]:
    quarters = math.ceil(4 * EXTENT / min(shape))  # exact in float32: all round sizes alike
    spacing = max(volumes.SPACING, quarters / 4)
    source = volumes.scan(volumes.phantom("head", shape, spacing), suffix)
    tiny = volumes.scan(volumes.phantom("head", TINY), suffix)
    print(f"preprocessing {source.name}", flush=True)
    return in_turns(contenders, source, tiny, rounds, _same_as_before())


def _same_as_before() -> Callable[[Path], None]:
    """A check that contenders of one scan wrote the same voxels in the same places.

    A plain Zarr array says nothing of places; there the voxels alone are compared.
    """
    earlier: list[tuple[np.ndarray, np.ndarray | None]] = []

    def check(path: Path) -> None:
        if path.suffix == ".nii":
            image = nib.load(path)
            voxels, affine = np.asarray(image.dataobj), image.affine
        elif path.name.endswith(".ome.zarr"):
            opened = vx.ScalarImage(path)
            voxels, affine = opened.compute().source.base.array[0], opened.affine
        else:
            voxels, affine = zarr.open_array(path, mode="r")[...], None
        if earlier:
            assert voxels.shape == earlier[0][0].shape
            assert affine is None or np.allclose(affine, earlier[0][1], atol=1e-3)
            # TorchIO cuts whole numbers off where rounding noise has made them smaller.
            difference = np.abs(voxels - earlier[0][0])
            assert difference.mean() < 1e-3
            assert np.quantile(difference[::4, ::4, ::4], 0.999) < 0.05
        earlier.append((voxels, affine))

    return check


if __name__ == "__main__":
    main()
