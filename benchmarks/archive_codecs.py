"""What each profile makes of each kind of voxel: bytes against ``.nii.gz``, encoding and decoding.

python benchmarks/archive_codecs.py [--size 128] [--rounds 3] [--scans FOLDER ...]

Scans are those that nibabel and nilearn ship, those of the folders that are named, and made ones of
every type. Bytes are those of all levels, which are the default ones. Speeds are of the voxels of
the finest level, in MB of decoded voxels per second of CPU time of one thread, checksums included.
The last column, ``0.1.0``, is the one codec that all intensities had then, without a trial.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from environments import OWN
from harness import save
from voxarray.archive.codecs import Codec
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.profiles import PROFILES
from voxarray.archive.source import ArchiveSource, open_archive
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
from voxarray.source.base import Source

SIZE = 128
LEAST_BYTES = 256 << 10
FIRST = Codec("lz4", 5, "bitshuffle", 1 << 16)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along a side of made scans")
    parser.add_argument("--rounds", type=int, default=3, help="times that a chunk is decoded")
    parser.add_argument("--scans", type=Path, nargs="*", default=[], help="folders of .nii.gz")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source, packed in itertools.chain(
            real(options.scans), phantoms(options.size, Path(folder))
        ):
            rows.append({"scan": name, "dtype": str(source.dtype), "nii.gz": packed})
            rows[-1]["profiles"] = measured(source, Path(folder), options.rounds)
            print_row(rows[-1])
    content = {"size": options.size, "rows": rows}
    save("codecs", content, (OWN,), trial=options.size != SIZE)


def real(folders: Sequence[Path]) -> Iterator[tuple[str, Source, int]]:
    """Scans that others made, and the bytes of their files."""
    folders_searched = [Path(nib.__file__).parent / "tests/data", *folders]
    try:
        import nilearn

        folders_searched.append(Path(nilearn.__file__).parent / "datasets/data")
    except ImportError:
        pass
    for path in sorted(file for folder in folders_searched for file in folder.rglob("*.nii.gz")):
        if path.stat().st_size >= LEAST_BYTES:
            yield path.name, open_source(path), path.stat().st_size


def phantoms(size: int, folder: Path) -> Iterator[tuple[str, Source, int]]:
    """One scan of each kind of voxel, and the bytes of its ``.nii.gz`` by ``gzip -6``."""
    for name, voxels in kinds(size).items():
        path = folder / "scan.nii"
        nib.save(nib.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype), path)
        yield name, ArraySource(voxels[None], np.eye(4)), len(gzip.compress(path.read_bytes(), 6))


def kinds(size: int) -> dict[str, NDArray]:
    """A head-like ellipsoid in air, in every type that NIfTI has; noise, vessels, label maps."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    ellipsoid = x**2 + 1.4 * y**2 + z**2 < 0.8
    noise = np.random.default_rng(0).normal(0, 0.02, ellipsoid.shape)
    head = np.where(ellipsoid, np.abs(np.cos(4 * x) * np.cos(3 * y) + 0.2 * z + noise) + 0.2, 0)
    regions = np.where(ellipsoid, (4 * x + 8).astype(int) * 16 + (4 * y + 8).astype(int), 0)
    result = {
        "12 in 16 bit": (head * 2000).astype("i2"),
        "noise 16 bit": (noise * 9e4).astype("i2"),
    }
    for dtype in ("u1", "i1", "u2", "i4", "u8", "f4", "f8", "c8"):
        top = min(30_000, np.iinfo(dtype).max) if dtype[0] in "iu" else 1000
        result[f"head {np.dtype(dtype)}"] = (head / head.max() * top).astype(dtype)
    result["sparse int16"] = np.where(head > 1.25, head * 2000, 0).astype("i2")
    result["labels uint8"] = (regions % 250).astype("u1")
    result["labels int32"] = regions.astype("i4")
    return result


def measured(source: Source, folder: Path, rounds: int) -> dict[str, Any]:
    """Bytes and speeds by profile."""
    result = {}
    for name in PROFILES:
        path = folder / "scan.ome.zarr"
        convert(source, path, options=Options(codec=name, overwrite=True))
        archive = open_archive(path)
        sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
        voxels = [
            file.stat().st_size for file in path.glob("scale*/image/c/**/*") if file.is_file()
        ]
        result[name] = {
            "codec": codec_name(archive.array.codec),
            "bytes": sum(voxels),
            "metadata": sum(sizes) - sum(voxels),
            **speeds(archive, archive.array.codec, rounds),
        }
        if name == "fast":
            result["0.1.0"] = {"codec": codec_name(FIRST), **speeds(archive, FIRST, rounds)}
    return result


def codec_name(codec: Codec) -> str:
    return f"{codec.cname} {codec.level} {codec.shuffle}" if codec.cname else "none"


def speeds(archive: ArchiveSource, codec: Codec, rounds: int) -> dict[str, float]:
    """Bytes of the finest level, and MB per CPU second, of encoding and decoding its chunks."""
    array = archive.array
    size, encoding, decoding, total = 0, 0.0, 0.0, 0
    out = np.empty(array.layout.chunk, array.dtype)
    unscaled = archive.unscaled()
    for index in itertools.product(*map(range, array.layout.chunk_counts)):
        n, z, y, x = array.layout.region(index)  # type: ignore[arg-type]  # four
        block = unscaled.read(Selection((n, x, y, z))).transpose(0, 3, 2, 1)
        chunk = np.zeros(array.layout.chunk, array.dtype)
        chunk[tuple(slice(0, k) for k in block.shape)] = block
        if not chunk.any():
            continue
        began = time.process_time()
        parts = codec.encode(chunk)
        encoding += time.process_time() - began
        encoded = np.frombuffer(b"".join(parts), np.uint8)
        seconds = []
        for _ in range(rounds):
            copied = encoded.copy()
            began = time.process_time()
            codec.decode(copied, out)
            seconds.append(time.process_time() - began)
        decoding += min(seconds)  # what else the machine does only makes it slower
        size, total = size + encoded.size, total + chunk.nbytes
    return {
        "finest": size,
        "encode": total / max(encoding, 1e-9) / 1e6,
        "decode": total / max(decoding, 1e-9) / 1e6,
    }


def print_row(row: dict[str, Any]) -> None:
    print(f"\n{row['scan']} {row['dtype']}, .nii.gz {row['nii.gz']:,} bytes")
    for name, figures in row["profiles"].items():
        ratio = figures.get("bytes", figures["finest"]) / row["nii.gz"]
        print(
            f"  {name:9} {ratio:6.3f}  encode {figures['encode']:6.0f}  "
            f"decode {figures['decode']:6.0f}  {figures['codec']}  "
            f"metadata {figures.get('metadata', 0):,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
