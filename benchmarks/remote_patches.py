"""Patches for training from an object store, with the cache of chunks: cold and warm against local.

python benchmarks/remote_patches.py [--size 256] [--patch 96] [--rounds 5] [--delay 20]

One `PatchDataset` over an archive on disk, and the same over the bucket of ``slow_store.py``, with
``voxarray.remote-cache``. The first pass fetches, the others find all chunks in the cache; they and
passes over the local archive take turns in one process and one thread, and of each the least CPU
counts. The cold pass is held against what sixteen requests in flight and one core allow.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dask.config

import volumes
import voxarray as vx
from environments import BENCH, OWN
from harness import save
from remote import KEYS, WARM, archive, bucket_at, store
from timing import report

SIZE, PATCHES, IN_FLIGHT = 256, 60, 16


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--patch", type=int, default=96, help="voxels along each side of a patch")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each")
    parser.add_argument("--delay", type=float, default=20, help="of each answer, in ms")
    options = parser.parse_args(arguments)
    os.environ.update(KEYS)
    scans = {kind: measured(kind, options) for kind in ("head", "noisy")}
    content = {"patch": options.patch, "delay_ms": options.delay, "scans": scans}
    save("remote_patches", {"size": options.size, **content}, (OWN,), trial=options.size != SIZE)


def measured(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the cold pass, CPU of warm and local ones, chunks fetched, and the two ratios."""
    name = f"{kind}-{options.size}.ome.zarr"
    local = BENCH / "data" / "remote" / "bucket" / name
    archive(WARM)
    volume = volumes.phantom(kind, (options.size,) * 3)
    vx.convert(volumes.scan(volume, ".nii"), local, overwrite=True)
    fastest = {"local": math.inf, "warm": math.inf}
    with tempfile.TemporaryDirectory() as cache, store(options.delay) as port:
        settings = {
            "voxarray.threads": 1,
            "voxarray.remote-cache": "4 GiB",
            "voxarray.remote-cache-directory": cache,
        }
        with dask.config.set(settings), bucket_at(port):
            local_pass = a_pass(str(local), options.patch)
            remote_pass = a_pass(f"s3://bucket/{name}", options.patch)
            local_pass()
            # What is imported and connected on first use, with another image.
            vx.ScalarImage(f"s3://bucket/{WARM}.ome.zarr").numpy()
            began = time.perf_counter()
            remote_pass()
            cold = time.perf_counter() - began
            for _ in range(options.rounds):
                for store_name, one_pass in (("local", local_pass), ("warm", remote_pass)):
                    began = time.process_time()
                    one_pass()
                    fastest[store_name] = min(fastest[store_name], time.process_time() - began)
        chunks = sum(path.is_file() for path in Path(cache).rglob("*"))
    possible = fastest["local"] + chunks * options.delay / 1000 / IN_FLIGHT
    figures = {f"{store_name}, s of CPU": seconds for store_name, seconds in fastest.items()}
    figures |= {"cold, s": cold, "cold / possible": cold / possible, "chunks": chunks}
    return report({**figures, "local / warm": fastest["local"] / fastest["warm"]}, kind)


def a_pass(path: str, patch: int) -> Callable[[], object]:
    """Reads all patches of a dataset, the same each time."""
    image = vx.ScalarImage(path)
    patches = vx.PatchDataset([{"t1": image}], vx.UniformSampler(patch), PATCHES, seed=1)
    return lambda: [patches[n] for n in range(PATCHES)]


if __name__ == "__main__":
    main()
