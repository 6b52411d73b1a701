"""Small images, their archives, and what numpy says of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.convert import convert
from voxarray.archive.manifest import KEY, FileEntry, Manifest
from voxarray.archive.metadata import Kind, Label, level_name
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.shard import ABSENT, index_size, tail_size
from voxarray.archive.source import open_archive
from voxarray.archive.spatial_metadata import write_coordinates
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.base import Channels, Source
from voxarray.storage.store import TreeStore

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16")

# Oblique, flipped, sheared and anisotropic, with numbers that no binary fraction holds.
OBLIQUE = np.array(
    [
        [-1.3, 0.21, 0.4, 41.7],
        [0.11, 0.9, -0.62, -17.3],
        [0.17, 0.33, 2.9, 5.1],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def voxels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray:
    """Every bit pattern is as likely as any other: NaN payloads, -0.0, infinities, extremes."""
    kind = np.dtype(dtype)
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * kind.itemsize)
    result = np.frombuffer(bytearray(raw), kind).reshape(shape)
    if kind.kind in "fc":
        parts = result.reshape(-1).view(result.real.dtype)
        parts[: min(4, parts.size)] = [np.nan, -0.0, np.inf, -np.inf][: min(4, parts.size)]
    return result


def blobs(shape: tuple[int, ...], dtype: str = "i2", seed: int = 0) -> NDArray:
    """Background and a few values: some chunks are empty, and cells of labels are mixed."""
    rng = np.random.default_rng(seed)
    result = rng.integers(0, 5, shape)
    result[:, : shape[1] // 2] = 0
    return result.astype(dtype)


def archive(
    path: Path,
    array: NDArray,
    affine: NDArray = OBLIQUE,
    *,
    channels: Channels = Channels(),
    kind: Kind = "intensity",
    table: tuple[Label, ...] = (),
    labels: Mapping[str, NDArray] | None = None,
    lazily: bool = False,
    **options: Any,
) -> Path:
    """Archive an array (C, W, H, D), from memory or through dask, and label maps on its grid."""
    layers = {
        name: LabelLayer(ArraySource(values, affine), (Label(1, "one", (255, 0, 0, 255)),))
        for name, values in (labels or {}).items()
    }
    source: Source = ArraySource(array, affine, channels)
    if lazily:
        source = DaskSource(dask.array.from_array(array, chunks=5), affine, channels)
    convert(source, path, kind=kind, table=table, labels=layers, options=Options(**options))
    return path


def whole(source: Source | Path) -> NDArray:
    """All voxels (C, W, H, D)."""
    opened = source if isinstance(source, Source) else open_archive(source)
    return opened.read(Selection.whole(opened.shape))


def same_bits(seen: NDArray, expected: NDArray) -> bool:
    """Whether two arrays are the same to the bit; NaN payloads and the sign of zero count."""
    return (
        seen.dtype == expected.dtype
        and seen.shape == expected.shape
        and np.ascontiguousarray(seen).tobytes() == np.ascontiguousarray(expected).tobytes()
    )


def numpy_index(array: NDArray, key: Any) -> NDArray:
    """What NumPy takes from (C, W, H, D): integers keep their axis, up to three are W, H, D."""
    items = key if isinstance(key, tuple) else (key,)
    kept = tuple(
        item if isinstance(item, slice) or item is Ellipsis else slice(item, item + 1 or None)
        for item in items
    )
    explicit = sum(item is not Ellipsis for item in kept)
    return array[kept] if explicit == 4 else array[(slice(None), *kept)]


def reseal(path: Path) -> None:
    """Write a manifest for the files of an archive as they are now, as if all were meant."""
    (path / KEY).unlink(missing_ok=True)
    files = {
        key: FileEntry.of((path / key).read_bytes(), _tail(path, key))
        for key in TreeStore(str(path)).keys()  # noqa: SIM118  # no mapping
    }
    (path / KEY).write_bytes(Manifest(files, {}).to_bytes())


def with_all_coordinates(path: Path) -> Path:
    """Give coarse levels x, y, z and ``spatial_ref``, as early archives of version 2 have them."""
    for image in [path, *sorted(path.glob("labels/*/"))]:
        opened = open_archive(image)
        grids = [opened.level(number).grid for number in range(opened.levels)]
        for number, grid in list(enumerate(grids))[1:]:
            folder = image / level_name(number)
            document = json.loads((folder / "image/zarr.json").read_bytes())
            del document["attributes"]["positions"]
            document["attributes"] = {"coordinates": "spatial_ref", **document["attributes"]}
            (folder / "image/zarr.json").write_bytes(documents.dump(document))
            write_coordinates(_Folder(folder), "", grid)
    reseal(path)
    return path


@dataclass
class _Folder:
    """Takes files as `Staging` does."""

    path: Path

    def write(self, key: str, data: bytes) -> None:
        file = self.path / key.lstrip("/")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)


def add_tables(path: Path) -> None:
    """Give the shards of another program the checksums of their chunks, and seal the archive."""
    for file in sorted(path.rglob("c/*/*/*/*")):
        data, slots = file.read_bytes(), _slots(path, file.relative_to(path).as_posix())
        index = data[-index_size(slots) :]
        crcs = b"".join(
            b"\0" * 4 if offset == ABSENT else data[offset + length - 4 : offset + length]
            for offset, length in np.frombuffer(index[:-4], "<u8").reshape(-1, 2).tolist()
        )
        file.write_bytes(data[: len(data) - len(index)] + crcs + index)
    reseal(path)


def _tail(path: Path, key: str) -> int:
    """Bytes of the tail of a shard; 0 for other files, and where no layout says."""
    slots = _slots(path, key)
    return tail_size(slots) if slots else 0


def _slots(path: Path, key: str) -> int:
    """Chunks that a shard has room for; 0 for other files, and where no layout says."""
    array, is_data, _ = key.partition("/c/")
    try:
        document = json.loads((path / array / "zarr.json").read_bytes())
        shard = document["chunk_grid"]["configuration"]["chunk_shape"]
        chunk = document["codecs"][0]["configuration"]["chunk_shape"]
        sizes = [n // c for n, c in zip(shard, chunk, strict=True)]
    except (OSError, KeyError, TypeError, ValueError, ArithmeticError):
        return 0
    return math.prod(sizes) if is_data else 0
