"""What archives of small scans cost: CPU against a floor, files and folders, syncs, threads.

python benchmarks/small_scans.py [--shape 48 48 32] [--rounds 9] [--scans 60]

The floor is what cannot be left out: decode the .nii.gz, encode the voxels by the codec of the
archive, write one file. It, the folder and the zip take turns; of the rounds of each the least is
taken, for other processes only add to CPU time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import voxarray as vx
from environments import OWN
from harness import save
from voxarray.archive.source import open_archive
from voxarray.core import portable

try:
    from deflate import gzip_decompress
except ImportError:
    from isal.igzip import decompress as gzip_decompress

SHAPE, SCANS = (48, 48, 32), 60
PLACES = 300
"""More than voxarray keeps facts of: no scan of a cohort is where an earlier one was."""

KINDS = ("uint8", "uint16 labels", "int16", "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="voxels")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way")
    parser.add_argument("--scans", type=int, default=SCANS, help="conversions in a turn")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            rows.append({"kind": kind, **measured(kind, options, Path(folder) / kind)})
            print(rows[-1], flush=True)
    trial = tuple(options.shape) != SHAPE or options.scans != SCANS
    save("small_scans", {"shape": options.shape, "rows": rows}, (OWN,), trial=trial)


def voxels_of(kind: str, shape: Sequence[int]) -> NDArray:
    """Voxels (W, H, D): a smooth field with noise, or what it comes to as labels."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=tuple(shape)), 2)
    field /= field.std()
    if kind == "uint16 labels":
        return np.clip(np.round(field * 2), 0, 9).astype(np.uint16)
    scale = {"uint8": 30, "int16": 400, "float32": 1.0}[kind]
    noisy = field * scale + rng.normal(size=field.shape) * scale / 20
    return (np.clip(noisy + 128, 0, 255) if kind == "uint8" else noisy).astype(kind)


def placed_scans(
    voxels: NDArray, image_class: type[vx.ScalarImage | vx.LabelMap], folder: Path
) -> Iterator[Path]:
    """Files of the same voxels in places of their own, as scans of a cohort have."""
    for number in range(PLACES):
        affine = np.diag([2, 2, 2.5, 1])
        affine[:3, 3] = np.random.default_rng(number).normal(scale=30, size=3)
        scan = folder / f"scan{number}.nii.gz"
        image_class(tensor=voxels[None], affine=affine).save(scan)
        yield scan


def measured(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Milliseconds of CPU, their ratios to the floor, and what an archive is made of."""
    folder.mkdir()
    voxels = voxels_of(kind, options.shape)
    is_label = "labels" in kind
    scans = list(placed_scans(voxels, vx.LabelMap if is_label else vx.ScalarImage, folder))
    turns = itertools.cycle(scans)
    sample = folder / "sample.ome.zarr"
    with counted_calls() as counts:
        vx.convert(scans[0], sample, label=is_label)
    codec = open_archive(sample).array.codec
    ordered = np.ascontiguousarray(voxels.T)

    def floor(path: Path) -> None:
        raw = gzip_decompress(next(turns).read_bytes())
        stored = np.frombuffer(raw, voxels.dtype, voxels.size, 352).reshape(ordered.shape)
        path.write_bytes(b"".join(codec.encode(stored)))

    contenders = {
        "floor": floor,
        "folder": lambda path: vx.convert(next(turns), f"{path}.ome.zarr", label=is_label),
        "zip": lambda path: vx.convert(next(turns), f"{path}.ozx", label=is_label),
    }
    milliseconds = least_cpu(contenders, options.rounds, options.scans, folder)
    return {
        "cpu_ms": milliseconds,
        "times_floor": {
            name: round(value / milliseconds["floor"], 2) for name, value in milliseconds.items()
        },
        "inodes": 1 + sum(1 for _ in sample.rglob("*")),
        **counts,
    }


def least_cpu(
    contenders: Mapping[str, Callable[[Path], object]], rounds: int, calls: int, folder: Path
) -> dict[str, float]:
    """Milliseconds of CPU of one call of each way, of all threads and of the system."""
    fastest = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):  # the first warms up
        for name, run in contenders.items():
            # Nothing is deleted between: files that are made just after take ext4 longer.
            output = folder / f"output-{turn}-{name}"
            output.mkdir()
            os.sync()  # what the way before has left for the disk to write is none of this one's
            began = time.process_time()
            for number in range(calls):
                run(output / str(number))
            cost = (time.process_time() - began) / calls * 1000
            if turn:
                fastest[name] = min(fastest[name], cost)
    return {name: round(value, 3) for name, value in fastest.items()}


@contextmanager
def counted_calls() -> Iterator[dict[str, int]]:
    """Waits for the disk and threads started while the body runs."""
    counts = {"fsyncs": 0, "syncfs": 0, "threads": 0}

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        return call

    with (
        mock.patch.object(os, "fsync", counting("fsyncs", os.fsync)),
        mock.patch.object(portable, "syncfs", counting("syncfs", portable.syncfs)),
        mock.patch.object(threading.Thread, "start", counting("threads", threading.Thread.start)),
    ):
        yield counts


if __name__ == "__main__":
    main()
