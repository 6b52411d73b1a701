"""CPU time of random patches from compressed files: our profiles beside b2nd of Blosc2.

    python benchmarks/compressed_patches.py [--edge 256] [--patches 60] [--out FILE]

One thread, files open, the same boxes of the same head-like volume, contenders in turns. The files
of b2nd are made as nnU-Net 2.8 makes them: chunks of 128^3, blocks of 32 x 32 x 64, LZ4HC at level
5. Needs ``blosc2``; without it only ours are measured. Times of a busy machine are of no use by
themselves: look at the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask.config
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import voxarray as vx

PATCH = 96
ROUNDS = 7
PROFILES = ("default", "fast", "training", "raw")
Read = Callable[[int, int, int], NDArray]


def head(edge: int) -> NDArray[np.int16]:
    """Smooth tissue with noise inside of an ellipsoid, and nothing around it; (W, H, D)."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij", sparse=True)
    tissue = ndimage.zoom(rng.normal(0, 120, (edge // 8,) * 3), 8, order=1) + 900
    tissue += rng.normal(0, 18, tissue.shape)
    tissue[(x / 0.7) ** 2 + (y / 0.8) ** 2 + (z / 0.9) ** 2 > 1] = 0
    return tissue.astype(np.int16)


def ours(path: Path) -> Read:
    source = vx.open_source(path)

    def read(x: int, y: int, z: int) -> NDArray:
        box = (range(1), *(range(s, s + PATCH) for s in (x, y, z)))
        return source.read(vx.source.Selection(box))[0]

    return read


def into(path: Path) -> Read:
    """Straight into memory that is contiguous as (C, W, H, D)."""
    source, out = vx.open_source(path), np.empty((1, *[PATCH] * 3), np.int16)

    def read(x: int, y: int, z: int) -> NDArray:
        box = (range(1), *(range(s, s + PATCH) for s in (x, y, z)))
        source.read_into(vx.source.Selection(box), out)
        return out[0]

    return read


def b2nd(voxels: NDArray, path: Path) -> Read | None:
    try:
        import blosc2
    except ImportError:
        return None
    blosc2.set_nthreads(1)
    blosc2.asarray(
        np.ascontiguousarray(voxels.T),
        chunks=(128,) * 3,
        blocks=(32, 32, 64),
        cparams={"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]},
        urlpath=str(path),
        mode="w",
    )
    opened = blosc2.open(str(path), mode="r", mmap_mode="r")
    return lambda x, y, z: opened[z : z + PATCH, y : y + PATCH, x : x + PATCH].T


def milliseconds(read: Read, starts: list[list[int]]) -> float:
    began = time.process_time()
    for start in starts:
        read(*start)
    return (time.process_time() - began) / len(starts) * 1e3


def size_of(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(os.path.getsize(file) for file in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--patches", type=int, default=60)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    voxels = head(asked.edge)
    starts = np.random.default_rng(1).integers(0, asked.edge - PATCH, (asked.patches, 3)).tolist()
    with dask.config.set({"voxarray.threads": 1}), tempfile.TemporaryDirectory() as folder:
        readers: dict[str, Read] = {}
        sizes: dict[str, float] = {}
        for name in PROFILES:
            path = Path(folder) / f"{name}.ome.zarr"
            vx.convert(vx.ScalarImage(tensor=voxels[None]), path, codec=name, levels=1)
            readers[name], sizes[name] = ours(path), size_of(path) / voxels.nbytes
        readers["training, contiguous"] = into(Path(folder) / "training.ome.zarr")
        peer = b2nd(voxels, Path(folder) / "head.b2nd")
        if peer is not None:
            readers["b2nd"] = peer
            sizes["b2nd"] = size_of(Path(folder) / "head.b2nd") / voxels.nbytes
        x, y, z = starts[0]
        wanted = voxels[x : x + PATCH, y : y + PATCH, z : z + PATCH]
        for name, read in readers.items():
            assert np.array_equal(read(x, y, z), wanted), name
        times: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, read in readers.items():
                times[name].append(milliseconds(read, starts))
    found = {
        name: {"ms": round(min(all_), 3), "median_ms": round(statistics.median(all_), 3)}
        | ({"of_raw": round(sizes[name], 4)} if name in sizes else {})
        for name, all_ in times.items()
    }
    print(json.dumps(found, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
