"""Random patches from compressed files: our profiles beside b2nd of Blosc2, by CPU time.

    python benchmarks/compressed_patches.py [--edge 512] [--patches 60] [--rounds 7] [--loaded 800]

One thread, files open, the same boxes of the same head-like volume, contenders in turns, best and
median of the rounds. The files of b2nd are made as nnU-Net 2.8 makes them: chunks of 128^3, blocks
of 32 x 32 x 64, LZ4HC at level 5. voxarray twice: with compiled loops (the extra ``fast``), loaded
before, and without. Beside patches: boxes of 16^3 within a chunk and at the corner of eight, and a
`DataLoader` with two workers, of which the CPU time of all processes is taken. Needs ``blosc2``;
without it only ours are measured. Times of a busy machine are of no use by themselves: look at the
ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import dask.config
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

import voxarray as vx
from environments import OWN
from harness import save
from voxarray.archive import accelerated

try:
    import blosc2
except ImportError:
    blosc2 = None

EDGE, PATCH, SMALL, CHUNK = 512, 96, 16, 64
PROFILES = ("default", "fast", "training", "raw")
BATCH, WORKERS = 4, 2
Read = Callable[[int, int, int], NDArray]


def head(edge: int) -> NDArray[np.int16]:
    """Smooth tissue with noise inside of an ellipsoid, and nothing around it; (W, H, D)."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij", sparse=True)
    tissue = ndimage.zoom(rng.normal(0, 120, (edge // 8,) * 3), 8, order=1) + 900
    tissue += rng.normal(0, 18, tissue.shape)
    tissue[(x / 0.7) ** 2 + (y / 0.8) ** 2 + (z / 0.9) ** 2 > 1] = 0
    return tissue.astype(np.int16)


@contextmanager
def loops(are_used: bool) -> Iterator[None]:
    """Read by compiled loops, or without."""
    with mock.patch.object(accelerated, "_WORTHWHILE", 0 if are_used else 1 << 60):
        if are_used and accelerated.loops(1) is None:
            raise SystemExit("there are no compiled loops: install numba (extra fast)")
        yield


def by_voxarray(path: Path, by_loops: bool, size: int = PATCH) -> Read:
    source = vx.open_source(path)

    def read(x: int, y: int, z: int) -> NDArray:
        box = (range(1), *(range(s, s + size) for s in (x, y, z)))
        return source.read(vx.source.Selection(box))[0]

    return chosen(read, by_loops)


def into(path: Path, by_loops: bool) -> Read:
    """Straight into memory that is contiguous as (C, W, H, D)."""
    source, out = vx.open_source(path), np.empty((1, *[PATCH] * 3), np.int16)

    def read(x: int, y: int, z: int) -> NDArray:
        box = (range(1), *(range(s, s + PATCH) for s in (x, y, z)))
        source.read_into(vx.source.Selection(box), out)
        return out[0]

    return chosen(read, by_loops)


def chosen(read: Read, by_loops: bool) -> Read:
    read.by_loops = by_loops  # type: ignore[attr-defined]
    return read


def write_b2nd(voxels: NDArray, path: Path) -> None:
    blosc2.set_nthreads(1)
    blosc2.asarray(
        np.ascontiguousarray(voxels.T),
        chunks=(128,) * 3,
        blocks=(32, 32, 64),
        cparams={"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]},
        urlpath=str(path),
        mode="w",
    )


def b2nd(path: Path, size: int = PATCH) -> Read:
    opened = blosc2.open(str(path), mode="r", mmap_mode="r")
    return lambda x, y, z: opened[z : z + size, y : y + size, x : x + size].T


class B2ndPatches(Dataset):
    """Random patches of a b2nd file, opened by each worker for itself."""

    def __init__(self, path: Path, edge: int, count: int) -> None:
        self.path, self.count = path, count
        self.starts = np.random.default_rng(2).integers(0, edge - PATCH + 1, (count, 3)).tolist()
        self.read: Read | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.read is None:
            blosc2.set_nthreads(1)
            self.read = b2nd(self.path)
        # Contiguous as the file has it: turned in the batch, as ours are.
        return torch.from_numpy(self.read(*self.starts[index]).T)[None]


def milliseconds(read: Read, starts: Sequence[Sequence[int]]) -> float:
    with loops(getattr(read, "by_loops", False)):
        began = time.process_time()
        for start in starts:
            read(*start)
        return (time.process_time() - began) / len(starts) * 1e3


def timed(
    readers: Mapping[str, Read], starts: Sequence[Sequence[int]]
) -> dict[str, Callable[[], float]]:
    return {name: partial(milliseconds, read, starts) for name, read in readers.items()}


def in_turns(
    contenders: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            times[name].append(measure())
    peer = times.get("b2nd")
    result = {}
    for name, all_ in times.items():
        result[name] = {"ms": round(min(all_), 4), "median_ms": round(statistics.median(all_), 4)}
        if peer:
            result[name]["of_b2nd"] = round(min(all_) / min(peer), 2)
            median = statistics.median(all_) / statistics.median(peer)
            result[name]["median_of_b2nd"] = round(median, 2)
    return result


def patches(files: Mapping[str, Path], voxels: NDArray, options: argparse.Namespace) -> Any:
    """CPU time of a patch of 96^3."""
    readers: dict[str, Read] = {}
    for name in PROFILES:
        if name != "raw":
            readers[f"{name}, compiled"] = by_voxarray(files[name], True)
        readers[name] = by_voxarray(files[name], False)
    readers["training, contiguous, compiled"] = into(files["training"], True)
    readers["training, contiguous"] = into(files["training"], False)
    if "b2nd" in files:
        readers["b2nd"] = b2nd(files["b2nd"])
    span = options.edge - PATCH + 1
    starts = np.random.default_rng(1).integers(0, span, (options.patches, 3)).tolist()
    x, y, z = starts[0]
    expected = voxels[x : x + PATCH, y : y + PATCH, z : z + PATCH]
    for name, read in readers.items():
        with loops(getattr(read, "by_loops", False)):
            assert np.array_equal(read(x, y, z), expected), name
    return in_turns(timed(readers, starts), options.rounds)


def small(files: Mapping[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """CPU time of a box of 16^3 in the middle of the volume."""
    middle = options.edge // 2 // CHUNK * CHUNK
    positions = {"within a chunk": middle + 8, "at the corner of eight": middle - SMALL // 2}
    result = {}
    for position, start in positions.items():
        readers = {
            f"{name}{', compiled' * by_loops}": by_voxarray(files[name], by_loops, SMALL)
            for name in ("default", "training")
            for by_loops in (True, False)
        }
        if "b2nd" in files:
            readers["b2nd"] = b2nd(files["b2nd"], SMALL)
        result[position] = in_turns(timed(readers, [(start,) * 3] * 200), options.rounds)
    return result


def loaded(files: Mapping[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """CPU time of all processes for a patch that a `DataLoader` with two workers hands out."""
    subject = vx.Subject(t1=vx.ScalarImage(files["training"]))
    dataset = vx.PatchDataset([subject], vx.UniformSampler(PATCH), patches_per_image=options.loaded)
    contenders = {
        "training, compiled": lambda: through_loader(dataset, True),
        "training": lambda: through_loader(dataset, False),
    }
    if "b2nd" in files:
        peer = B2ndPatches(files["b2nd"], options.edge, options.loaded)
        contenders["b2nd"] = lambda: through_loader(peer, False)
    return in_turns(contenders, options.rounds)


def through_loader(dataset: Dataset, by_loops: bool) -> float:
    with loops(by_loops):  # forked workers begin with what is loaded here
        began, count = used(), 0
        for batch in DataLoader(dataset, BATCH, num_workers=WORKERS):
            data = batch if isinstance(batch, torch.Tensor) else batch["t1"]["data"]
            count += len(data)
        del batch, data
    return (used() - began) / count * 1e3


def used() -> float:
    """Seconds of CPU of this process and of those that it has waited for."""
    usages = (
        resource.getrusage(scope) for scope in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def size_of(path: Path) -> int:
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    return sum(os.path.getsize(file) for file in files)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=EDGE, help="voxels along a side, 128 or more")
    parser.add_argument("--patches", type=int, default=60, help="boxes of a turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way")
    parser.add_argument("--loaded", type=int, default=800, help="patches of a loader's turn")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    voxels = head(options.edge)
    with dask.config.set({"voxarray.threads": 1}), tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.ome.zarr" for name in PROFILES}
        for name, path in files.items():
            vx.convert(vx.ScalarImage(tensor=voxels[None]), path, codec=name, levels=1)
        if blosc2 is not None:
            files["b2nd"] = Path(folder) / "head.b2nd"
            write_b2nd(voxels, files["b2nd"])
        content = {
            "edge": options.edge,
            "blosc2": getattr(blosc2, "__version__", None),
            "of_raw": {name: round(size_of(p) / voxels.nbytes, 4) for name, p in files.items()},
            "patches": patches(files, voxels, options),
            "small": small(files, options),
            "loader": loaded(files, options),
        }
    for what in ("of_raw", "patches", "small", "loader"):
        print(what, *(f"  {name}: {one}" for name, one in content[what].items()), sep="\n")
    save("compressed_patches", content, (OWN,), trial=options.edge != EDGE)


if __name__ == "__main__":
    main()
