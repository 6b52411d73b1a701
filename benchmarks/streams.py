"""What converting a compressed scan costs: CPU against decoding it and encoding all levels.

python benchmarks/streams.py [--scan chris_t1.nii.gz] [--rounds 5]

The floor is libdeflate decoding the whole file at once (isal where that is not installed), and
the codec of the archive encoding every chunk of every level; nothing is checked, hashed, halved
or written. It and a conversion take turns on one core and in one thread, since two threads of one
core make each other's CPU time longer; of the rounds of each the least is taken. The parts of a
conversion are CPU of its functions, of the run after. Without --scan voxels are made.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import dask.config
import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import voxarray as vx
from environments import OWN
from harness import save
from small_scans import gzip_decompress
from voxarray.archive import chunk_statistics, codecs, durability, level_writer, pyramid, write_plan
from voxarray.archive.source import open_archive
from voxarray.formats._voxels import gzip_at_once
from voxarray.storage import file_digest

SHAPE = (512, 512, 192)
KINDS = ("uint8", "uint16 labels", "int16", "float32")
PARTS = {
    "decoding the file": (gzip_at_once, "_decode_member"),
    "sha256 of the file": (file_digest.FileDigest, "_run"),
    "copies of chunks": (pyramid, "dense"),
    "counting labels": (chunk_statistics.LabelTally, "add"),
    "halving": (write_plan, "mean"),
    "voting": (write_plan, "majority"),
    "encoding": (codecs.Codec, "encode"),
    "decoding what was encoded": (codecs.Codec, "decode_body"),
    "encoding, with that and copies": (level_writer.LevelWriter, "encode"),
    "all tasks of chunks": (pyramid.PyramidWriter, "_encode"),
    "reading back": (durability.ShardSync, "advance"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=Path, help="a uint8 .nii.gz that the voxels are made of")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="voxels")
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    with (
        dask.config.set({"voxarray.threads": 1}),
        tempfile.TemporaryDirectory() as folder,
    ):
        for kind in KINDS:
            voxels = voxels_of(kind, base(options.scan, options.shape))
            rows.append({"kind": kind, **measured(kind, voxels, options.rounds, Path(folder))})
            print(rows[-1], flush=True)
    content = {
        "shape": options.shape,
        "scan": None if options.scan is None else options.scan.name,
        "rows": rows,
    }
    save("streams", content, (OWN,), trial=tuple(options.shape) != SHAPE)


def base(scan: Path | None, shape: Sequence[int]) -> NDArray[np.float32]:
    """A head (W, H, D) of 0 to 255: a real one, repeated, or a made one."""
    if scan is not None:
        voxels = np.asarray(nibabel.load(scan).dataobj)
        pads = [(0, max(0, n - m)) for n, m in zip(shape, voxels.shape, strict=True)]
        padded = np.pad(voxels, pads, mode="wrap")
        return padded[tuple(slice(0, n) for n in shape)].astype(np.float32)
    rng = np.random.default_rng(0)
    small = rng.normal(size=[n // 4 for n in shape]).astype(np.float32)
    field = ndimage.zoom(ndimage.gaussian_filter(small, 2), 4, order=1)
    ellipsoid = (
        np.sqrt(sum(x**2 for x in np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)])) < 0.9
    )
    return np.clip(110 + field / field.std() * 30, 13, 255).astype(np.float32) * ellipsoid


def voxels_of(kind: str, head: NDArray[np.float32]) -> NDArray:
    """Voxels of a type: with noise inside the head where they are wide."""
    if kind == "uint8":
        return head.astype(np.uint8)
    if kind == "uint16 labels":
        return (ndimage.uniform_filter(head.astype(np.uint8), 5) // 40).astype(np.uint16) * 1000
    noise = np.random.default_rng(0).normal(size=head.shape).astype(np.float32)
    noisy = head * 7 + noise * 6 * (head > 12)
    return np.round(noisy).astype(np.int16) if kind == "int16" else noisy / 100


def measured(kind: str, voxels: NDArray, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds of CPU of the floor and of a conversion, their ratio, and what takes them."""
    is_label = "labels" in kind
    scan, archive = folder / "scan.nii.gz", folder / "scan.ome.zarr"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.8, 0.8, 1, 1])), scan)

    def convert() -> None:
        vx.convert(scan, archive, label=is_label, overwrite=True)

    convert()
    opened = open_archive(archive)
    codec, chunks = opened.array.codec, list(chunks_of(archive))
    fastest = {"decode": np.inf, "encode": np.inf, "convert": np.inf}
    for _ in range(rounds):
        data = scan.read_bytes()
        contenders = {
            "decode": lambda data=data: gzip_decompress(data, *_length(data)),
            "encode": lambda: [codec.encode(chunk) for chunk in chunks],
            "convert": convert,
        }
        for name, run in contenders.items():
            began = time.process_time()
            run()
            fastest[name] = min(fastest[name], time.process_time() - began)
    floor = fastest["decode"] + fastest["encode"]
    with parts() as seconds:
        convert()
    return {
        "mib": voxels.nbytes >> 20,
        "codec": [codec.cname, codec.level, codec.shuffle],
        "cpu_s": {name: round(value, 3) for name, value in fastest.items()},
        "times_floor": round(fastest["convert"] / floor, 2),
        "parts_of_floor": {name: round(value / floor, 3) for name, value in seconds.items()},
    }


def _length(data: bytes) -> tuple[int, ...]:
    is_libdeflate = gzip_decompress.__module__.startswith("deflate")
    return (int.from_bytes(data[-4:], "little"),) if is_libdeflate else ()


def chunks_of(archive: Path) -> Iterator[NDArray]:
    """The chunks of all levels that hold any signal, as they are encoded."""
    image = vx.ScalarImage(archive)
    for number in range(open_archive(archive).levels):
        edges = open_archive(archive).level(number).array.layout.chunk
        stored = image.level(number).numpy().transpose(0, 3, 2, 1)
        counts = [-(-size // edge) for size, edge in zip(stored.shape, edges, strict=True)]
        for index in np.ndindex(*counts):
            begins = zip(index, edges, strict=True)
            part = stored[tuple(slice(p * edge, p * edge + edge) for p, edge in begins)]
            chunk = np.zeros(edges, stored.dtype)
            chunk[tuple(slice(0, n) for n in part.shape)] = part
            if chunk.any():
                yield chunk


@contextmanager
def parts() -> Iterator[Counter[str]]:
    """CPU of the functions of `PARTS` while the body runs."""
    seconds: Counter[str] = Counter()

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                seconds[name] += time.thread_time() - began

        return call

    with ExitStack() as patches:
        for name, (owner, attribute) in PARTS.items():
            function = timed(name, getattr(owner, attribute))
            patches.enter_context(mock.patch.object(owner, attribute, function))
        yield seconds


if __name__ == "__main__":
    main()
