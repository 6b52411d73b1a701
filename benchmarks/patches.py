"""How fast patches and whole volumes come out of an archive, and how fast a huge one opens.

The archive is of the default profile; rows that say so are of one by ``fast``.

python benchmarks/patches.py [--size 512] [--patch 96] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

import volumes
import voxarray as vx
from environments import BENCH, OWN, python_of
from harness import HERE, left_out, save
from readers import LEVEL, READERS, Reader, ram
from timing import medians, report, seconds
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source
from voxarray.source.array import ArraySource
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.synthetic import Phantom

SIZE, PATCH = 512, 96
PATCHES_PER_ROUND = 20
HUGE = (2048, 2048, 4096)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument(
        "--patch", type=int, default=PATCH, help="voxels along each side of a patch"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each reader")
    options = parser.parse_args(arguments)
    scans: dict[str, dict[str, Any]] = {}
    for kind in ("head", "noisy"):
        volume = volumes.phantom(kind, (options.size,) * 3)
        stores = {"": archive_of(volume), ", fast": archive_of(volume, "fast")}
        scans[kind] = {
            "patches": _patches(volume, stores, options.patch, options.rounds),
            "whole": _whole_volume(stores, options.rounds),
        }
        with left_out("TorchIO 1"):
            scans[kind]["torchio1"] = _torchio1(volume, options.patch)
    content = {"size": options.size, "patch": options.patch, "scans": scans, "huge": _opening()}
    trial = (options.size, options.patch) != (SIZE, PATCH)
    save("patches", content, (OWN, "tio1"), trial=trial)


def archive_of(volume: Phantom, codec: str = "default") -> Path:
    """The archive of a phantom's file by a profile, made anew by the code as it stands."""
    source = volumes.scan(volume)
    suffix = ".ome.zarr" if codec == "default" else f"-all-levels-{codec}.ome.zarr"
    store = BENCH / "data" / source.name.replace(".nii.gz", suffix)
    convert(open_source(source), store, options=Options(overwrite=True, codec=codec))
    return store


def _patches(
    volume: Phantom, stores: Mapping[str, Path], patch: int, rounds: int
) -> dict[str, float]:
    """Milliseconds per patch of each reader of each archive, opened and warm, in turns."""
    boxes = volumes.boxes(volume.shape[0], patch, PATCHES_PER_ROUND)
    readers = {
        name + suffix: open_reader(store)
        for suffix, store in stores.items()
        for name, open_reader in READERS.items()
        if not suffix or open_reader is not ram  # of voxels in memory there is one kind
    }
    for name, read in readers.items():
        for box in boxes:  # warms, and shows that all read the same
            expected = volume.planes(box[0].start, box[0].start + 1)[0][box[1:]]
            array = np.squeeze(np.asarray(read(box)))  # (z, y, x), or an image's (W, H, D)
            same = [np.array_equal(array[0], expected), np.array_equal(array.T[0], expected)]
            assert any(same), f"{name} reads other voxels"

    def all_boxes(read: Reader) -> Callable[[], object]:
        return lambda: [read(box) for box in boxes]

    timings = medians({name: all_boxes(read) for name, read in readers.items()}, rounds)
    return report({name: s / len(boxes) * 1e3 for name, s in timings.items()}, "ms a patch")


def _whole_volume(stores: Mapping[str, Path], rounds: int) -> dict[str, float]:
    """Seconds until the whole volume is a tensor, by reader and archive."""

    def by_voxarray(store: Path) -> torch.Tensor:
        return vx.ScalarImage(store).data

    def by_zarr(store: Path) -> torch.Tensor:
        return torch.from_numpy(zarr.open_array(store / LEVEL, mode="r")[...])

    contenders: dict[str, Callable[[], torch.Tensor]] = {
        name + suffix: partial(read, store)
        for suffix, store in stores.items()
        for name, read in (("voxarray", by_voxarray), ("zarr-python", by_zarr))
    }
    return report(medians(contenders, rounds), "s the whole volume")


def _torchio1(volume: Phantom, patch: int) -> float:
    """Milliseconds of TorchIO 1 for a patch of the compressed file that is not loaded yet."""
    boxes = [
        [[s.start, s.stop] for s in box[::-1]] for box in volumes.boxes(volume.shape[0], patch, 3)
    ]
    setup = f"import sys; sys.path.insert(0, {str(HERE / 'contenders')!r}); import torchio1_patch"
    call = f"torchio1_patch.run({str(volumes.scan(volume))!r}, {boxes})"
    seconds = peak_above_imports(setup, f"result = {call}", python=python_of("tio1")).result
    return report({"TorchIO 1": statistics.median(seconds) * 1e3}, "ms a patch")["TorchIO 1"]


def _opening() -> dict[str, Any]:
    """Milliseconds to open, slice and describe an archive of 32 GiB, warm; no voxel is read."""
    store = _huge_archive()
    image = vx.ScalarImage(store)
    steps: dict[str, Callable[[], object]] = {
        "open": lambda: vx.ScalarImage(store).shape,
        "slice": lambda: image[100:1100:2, ::-1, 7],
        "repr": lambda: repr(image),
    }
    for step in steps.values():
        step()
    medians = {
        name: statistics.median(seconds(step) for _ in range(50)) * 1e3
        for name, step in steps.items()
    }
    return {"shape": HUGE, **report(medians, "ms")}


def _huge_archive() -> Path:
    """An archive of nothing but background, complete in all its files."""
    store = BENCH / "data" / ("background-" + "x".join(map(str, HUGE)) + ".ome.zarr")
    if not store.exists():
        print(f"writing {store.name}", flush=True)
        zeros = np.broadcast_to(np.int16(0), (1, *HUGE))
        convert(ArraySource(zeros, np.eye(4)), store)
    return store


if __name__ == "__main__":
    main()
