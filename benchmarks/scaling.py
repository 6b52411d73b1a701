"""How time and memory grow: with the size of a volume, and with the number of images.

python benchmarks/scaling.py [--largest 8] [--most 1000] [--only volumes|images] [--prepare]

``--prepare`` writes the scans and measures nothing: the largest take minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import volumes
from convert import FULL, TINY
from environments import BENCH, OWN
from harness import Contender, fresh_output, in_turns, save
from voxarray.geometry.selection import Shape3

SHAPES: dict[float, Shape3] = {
    0.25: (512, 512, 512),
    0.5: (512, 512, 1024),
    1: (1024, 1024, 512),
    2: (1024, 1024, 1024),
    4: (1024, 1024, 2048),
    8: (1024, 1024, 4096),
}
"""GiB of int16 voxels, and a volume of that size."""

IMAGES = (10, 30, 100, 300, 1000)
WORKERS = (1, 2)
SMALL: Shape3 = (96, 96, 64)

PEERS = {
    Contender(
        "nibabel + zarr-python, sharded as here",
        "nibabel_zarr_sharded",
        "nizarr",
        "pyramid, verification, all metadata, fsync",
    ): 8.0,
    Contender(
        "ngff-zarr, Python API",
        "ngff_zarr_api",
        "ngff",
        "pyramid, shards, checksums, verification, oblique affines, fsync",
    ): 1.0,
}
"""Who is compared, and up to how many GiB: beyond that it takes minutes, or all of the memory."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=float, default=8, help="GiB of the largest volume")
    parser.add_argument("--most", type=int, default=1000, help="images of the largest cohort")
    parser.add_argument("--only", choices=("volumes", "images"), help="one of the two curves")
    parser.add_argument("--prepare", action="store_true", help="write the scans only")
    options = parser.parse_args(arguments)
    sizes = [gib for gib in SHAPES if gib <= options.largest]
    counts = [count for count in IMAGES if count <= options.most]
    if options.prepare:
        for gib in sizes:
            volumes.scan(volumes.phantom("head", SHAPES[gib]))
        return
    if options.only != "images":
        content: dict[str, Any] = {"volumes": {f"{gib:g}": _volume(gib) for gib in sizes}}
        used = (OWN, *(peer.environment for peer in PEERS))
        save("scaling_volumes", content, used, trial=options.largest < 8)
    if options.only != "volumes":
        rows = [_cohort(count, workers) for count in counts for workers in WORKERS]
        content = {"shape": SMALL, "images": rows}
        save("scaling_images", content, (OWN,), trial=options.most < 1000)


def _volume(gib: float) -> list[dict[str, Any]]:
    """One run of each contender: the curve shows how steady they are."""
    source = volumes.scan(volumes.phantom("head", SHAPES[gib]))
    tiny = volumes.scan(volumes.phantom("head", TINY))
    print(f"converting {source.name}, {gib:g} GiB of voxels", flush=True)
    contenders = [FULL, *(peer for peer, most in PEERS.items() if gib <= most)]
    return in_turns(contenders, source, tiny, 1)


def _cohort(count: int, workers: int) -> dict[str, Any]:
    """``voxarray convert FOLDER COHORT``, processes and imports included."""
    folder = _scans(count)
    destination = fresh_output("cohort")
    command = [
        *(Path(sys.executable).with_name("voxarray"), "convert", folder, destination),
        *("--workers", str(workers)),
    ]
    with tempfile.TemporaryFile("w+") as printed:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # of it and of its workers: the largest
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}:\n{printed.read()}")
    print(f"  {count} images, {workers} workers{seconds:31.3f} s", flush=True)
    return {
        "images": count,
        "workers": workers,
        "seconds": seconds,
        "largest_process_mib": usage.ru_maxrss / 2**10,
    }


def _scans(count: int) -> Path:
    """A folder of ``count`` scans: ten different ones, copied."""
    folder = BENCH / "data" / f"cohort-{count}"
    if not folder.exists():
        partial = folder.with_name("partial-" + folder.name)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for number in range(count):
            seed = volumes.SEED + number % 10
            scan = volumes.scan(volumes.Phantom(SMALL, "head", seed))
            shutil.copyfile(scan, partial / f"sub-{number:04d}.nii.gz")
        partial.rename(folder)
    return folder


if __name__ == "__main__":
    main()
