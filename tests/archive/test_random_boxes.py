"""Boxes of archives through every route that reads parts: all equal to what numpy cuts out.

Shapes, types, codecs, chunks and boxes are drawn without mercy for what code likes: sizes are
primes as often as powers of two, chunks end inside the image, and most boxes are thin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from archive_samples import DTYPES, archive, voxels
from numpy.typing import NDArray

import voxarray as vx
from voxarray.archive.profiles import PROFILES
from voxarray.geometry.selection import Shape3, Shape4
from voxarray.patches.samplers import PatchSampler

LONGEST = 130
CHUNKS = (2, 4, 8, 16, 24, 32, 48, 64, 128, None)
NIFTI_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c8", "c16")

Key = tuple[slice, slice, slice, slice]


@dataclass(frozen=True)
class Sample:
    """An archive, what zarr-python reads of each of its levels, as (C, W, H, D), and a layer."""

    path: Path
    levels: list[NDArray]
    layer: Sample | None = None

    def __str__(self) -> str:
        shapes = [level.shape for level in self.levels]
        return f"{self.path.name}: {shapes} {self.levels[0].dtype}"


def shape(random: np.random.Generator, itemsize: int, limit: int) -> Shape4:
    while True:
        channels = int(random.choice([1, 1, 1, 2, 3, 12]))
        w, h, d = (int(random.integers(1, LONGEST + 1)) for _ in range(3))
        if random.random() < 0.3:
            w = int(random.choice([1, 2, 64, 128, LONGEST]))
        if channels * w * h * d * itemsize <= limit:
            return channels, w, h, d


def contents(random: np.random.Generator, shape: Shape4, dtype: str) -> NDArray:
    """Noise, which is stored as it is; steps; and a few values around background."""
    kind = random.integers(0, 3)
    if kind == 0:
        noise = voxels(shape, dtype, int(random.integers(1 << 30)))
        return noise >> np.uint64(1) if dtype == "u8" else noise  # as far as tensors go
    if kind == 1:
        steps = np.arange(np.prod(shape)).reshape(shape[::-1]).transpose() // 7 % 100
        return steps.astype(dtype)
    result = random.integers(0, 4, shape, np.uint8)
    result[:, :, shape[2] // 2 :] = 0
    return result.astype(dtype)


def sample(random: np.random.Generator, folder: Path, number: int, limit: int) -> Sample:
    dtype = str(random.choice(DTYPES))
    size = shape(random, np.dtype(dtype).itemsize, limit)
    stored = contents(random, size, dtype)
    chunk = CHUNKS[random.integers(len(CHUNKS))]
    if chunk is not None and chunk * LONGEST < max(size):
        chunk = None
    while chunk is not None and np.prod([-(-n // chunk) for n in size[1:]]) * size[0] > 300:
        chunk *= 2
    name = f"{number}{random.choice(['.ome.zarr', '.ozx'])}"
    codec = random.choice([*PROFILES, ""])
    layered = random.random() < 0.25
    seg = contents(random, (1, *size[1:]), str(random.choice(["u1", "u2", "i2"])))
    path = archive(
        folder / name,
        stored,
        chunk=chunk,
        codec=str(codec) or None,
        levels=int(random.integers(1, 4)),
        kind="label" if dtype in ("u1", "i2", "i4") and random.random() < 0.3 else "intensity",
        labels={"seg": abs(seg) % 100} if layered else None,
    )
    levels = list(stored_levels(path))
    np.testing.assert_array_equal(levels[0], stored)
    if not layered:
        return Sample(path, levels)
    inner = list(stored_levels(path, "labels/seg/"))
    np.testing.assert_array_equal(inner[0], abs(seg) % 100)
    return Sample(path, levels, Sample(path / "labels/seg", inner))


def stored_levels(path: Path, below: str = "") -> Iterator[NDArray]:
    """What zarr-python reads."""
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else path
    group = zarr.open_group(store, mode="r")
    for number in range(100):
        if f"{below}scale{number}/image" not in group:
            return
        yield np.asarray(group[f"{below}scale{number}/image"]).transpose(0, 3, 2, 1)


def key(random: np.random.Generator, shape: Shape4) -> Key:
    return tuple(_slice(random, n) for n in shape)  # type: ignore[return-value]


def _slice(random: np.random.Generator, size: int) -> slice:
    kind = random.integers(0, 7)
    if kind == 0:
        return slice(None)
    if kind == 1:
        return slice(size - 1, size)
    if kind == 2:
        return slice(max(0, size - int(random.integers(1, 6))), None)
    if kind == 3:
        return slice(None, None, -int(random.integers(1, 5)))
    start = int(random.integers(0, size))
    stop = int(random.integers(start + 1, size + 1))
    if kind == 4:
        return slice(start, start + 1)
    if kind == 5:
        return slice(start, stop)
    return slice(start, stop, int(random.integers(1, 9)))


class At(PatchSampler):
    """One place."""

    def __init__(self, start: Shape3, size: Shape3) -> None:
        super().__init__(size)
        self._start = start

    def draw(self, subject: vx.Subject) -> Any:  # noqa: ARG002
        return self

    def start(self, random: np.random.Generator) -> Shape3:  # noqa: ARG002
        return self._start


def through_image(path: Path, key: Key) -> NDArray:
    return vx.ScalarImage(path)[key].numpy()


def through_array(path: Path, key: Key) -> NDArray:
    return vx.ScalarImage(path).array.isel(dict(zip("cxyz", key, strict=True))).values


def through_engine(path: Path, key: Key) -> NDArray:
    dataset = xr.open_dataset(path, engine="voxarray")
    return dataset.image.isel(dict(zip("cxyz", key, strict=True))).values


def through_nibabel(path: Path, key: Key) -> NDArray:
    proxy = vx.ScalarImage(path).to_nibabel().dataobj
    channels, *box = key
    if len(proxy.shape) == 3:
        return np.asarray(proxy[tuple(box)])[None][channels]
    if len(proxy.shape) == 5:  # a vector per voxel
        box.append(0)
    return np.moveaxis(np.asarray(proxy[(*box, channels)]), -1, 0)


def through_patches(path: Path, key: Key) -> NDArray:
    """The smallest patch that holds the box, and the box of it."""
    image = vx.ScalarImage(path)
    ranges = [range(n)[s] for n, s in zip(image.shape, key, strict=True)]
    lows = [min(r) for r in ranges]
    size = [max(r) - low + 1 for r, low in zip(ranges, lows, strict=True)]
    sampler = At(tuple(lows[1:]), tuple(size[1:]))
    subject = vx.Subject(t1=image)
    patch = vx.PatchDataset([subject], sampler)[0]["t1"]["data"].numpy()
    inside = [
        [place - (low if axis else 0) for place in r]
        for axis, (r, low) in enumerate(zip(ranges, lows, strict=True))
    ]
    return patch[np.ix_(*inside)]


ROUTES: dict[str, Callable[[Path, Key], NDArray]] = {
    "image": through_image,
    "array": through_array,
    "engine": through_engine,
    "nibabel": through_nibabel,
    "patches": through_patches,
}


def check(sample: Sample, key: Key) -> None:
    expected = sample.levels[0][key]
    dtype = sample.levels[0].dtype
    for name, route in ROUTES.items():
        if name == "nibabel" and dtype.str[1:] not in NIFTI_TYPES:
            continue
        found = route(sample.path, key)
        same(found, expected, f"{sample} {key} through {name}")


def same(found: NDArray, expected: NDArray, what: str) -> None:
    assert found.shape == expected.shape, what
    np.testing.assert_array_equal(found, expected.astype(found.dtype), what)


def check_levels(sample: Sample, random: np.random.Generator) -> None:
    image = vx.ScalarImage(sample.path)
    for number, level in enumerate(sample.levels):
        box = key(random, level.shape)
        same(image.level(number)[box].numpy(), level[box], f"{sample} {box} of level {number}")


def attack(folder: Path, seed: int, archives: int, boxes: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    for number in range(archives):
        made = sample(random, folder, number, limit)
        for _ in range(boxes):
            one = made if made.layer is None or random.random() < 0.5 else made.layer
            check(one, key(random, one.levels[0].shape))
            check_levels(one, random)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_what_numpy_cuts_out(tmp_path, seed):
    attack(tmp_path, seed, archives=8, boxes=13, limit=1 << 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 150))
def test_many_boxes_are_what_numpy_cuts_out(tmp_path, seed):
    attack(tmp_path, seed, archives=20, boxes=50, limit=1 << 23)
