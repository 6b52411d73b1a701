"""A damaged archive never gives a wrong voxel or a wrong place, and `verify` finds the damage."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from archive_samples import archive, blobs

from voxarray.archive.source import label_names, open_archive
from voxarray.archive.verify import verify
from voxarray.core.errors import VoxarrayError
from voxarray.geometry.selection import Selection

SHAPE = (1, 9, 5, 7)

FORMS = ("a.ome.zarr", "a.ozx")


@pytest.fixture(scope="module", params=FORMS)
def whole_archive(request, tmp_path_factory):
    """An archive, what reading all of it gives, and a function that makes it look new."""
    path = archive(
        tmp_path_factory.mktemp("damage") / request.param,
        blobs(SHAPE),
        labels={"seg": blobs((1, *SHAPE[1:]), "u1", 1)},
        chunk=2,
        levels=2,
    )
    return path, {name: read() for name, read in reads(path)}


def reads(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Everything that can be read, by name: affine and voxels of all levels, parts, labels."""

    def read(image: str, number: int, key: object) -> bytes:
        level = open_archive(path / image).level(number)
        part = level.read(Selection.whole(level.shape)[key])
        facts = (level.shape, level.dtype.str, level.levels, level.channels, level.label_table)
        return b"".join([repr(facts).encode(), level.affine.tobytes(), part.tobytes()])

    images = ["", *(f"labels/{name}" for name in ("seg",))]
    for image, number in itertools.product(images, (0, 1)):
        for key in ((...,), (slice(3), 1, slice(None, None, -2))):
            yield f"{image} {number} {key}", lambda a=(image, number, key): read(*a)
    yield "header", lambda: open_archive(path).nifti_header or b"none"
    yield "names", lambda: repr(label_names(path)).encode()


def wrong_reads(path: Path, truth: dict[str, bytes]) -> list[str]:
    """Names of reads that give something else than the truth and raise no error of ours."""
    _look_new(path)
    wrong = []
    for name, read in reads(path):
        try:
            seen = read()
        except VoxarrayError as error:
            # The error of a damaged archive names it, so that it can be found among thousands.
            if not (error.code.isupper() and str(path) in str(error.path)):
                wrong.append(f"{name}: {error!r} of {error.path}")
        else:
            if seen != truth[name]:
                wrong.append(name)
    return wrong


def _look_new(path: Path) -> None:
    # Nothing that this process has cached about the archive is for this one.
    _look_new.clock += 1
    identified = path if path.is_file() else path / "manifest.json"
    if identified.is_file():
        os.utime(identified, ns=(_look_new.clock,) * 2)


_look_new.clock = 10**18


def files(path: Path) -> list[Path]:
    """All files of an archive."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


@contextmanager
def content(file: Path, data: bytes | None) -> Iterator[None]:
    """Let a file hold something else for a while, or be gone."""
    before = file.read_bytes()
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(before)


def flips(path: Path, count: int, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Files with one flipped bit: anywhere in the archive, and in every file at least once."""
    rng = np.random.default_rng(seed)
    found = files(path)
    sizes = np.array([file.stat().st_size for file in found])
    byte_in = list(rng.integers(0, sizes.sum(), count))
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    byte_in += [int(start + rng.integers(size)) for start, size in zip(starts, sizes, strict=True)]
    for position in byte_in:
        number = int(np.searchsorted(starts, position, side="right")) - 1
        data = bytearray(found[number].read_bytes())
        data[position - starts[number]] ^= 1 << int(rng.integers(8))
        yield found[number], bytes(data)


def require_no_harm(path: Path, truth: dict[str, bytes], what: str) -> None:
    assert wrong_reads(path, truth) == [], what
    assert verify(path) != [], f"verify misses {what}"


@pytest.mark.parametrize(
    ("count", "seed"),
    [(80, 0), *(pytest.param(500, seed, marks=pytest.mark.slow) for seed in range(1, 5))],
)
def test_no_flipped_bit_goes_unseen(whole_archive, count, seed):
    path, truth = whole_archive
    for file, data in flips(path, count, seed):
        at = next(n for n, (a, b) in enumerate(zip(data, file.read_bytes(), strict=True)) if a != b)
        with content(file, data):
            require_no_harm(path, truth, f"a flip at byte {at} of {file}")
    _look_new(path)
    assert verify(path) == []


def test_no_missing_short_or_empty_file_goes_unseen(whole_archive):
    path, truth = whole_archive
    for file in files(path):
        data = file.read_bytes()
        cuts = [data[: len(data) // 2], b""]
        if file != path:
            cuts.append(None)
        for cut in cuts:
            with content(file, cut):
                require_no_harm(path, truth, f"{file} with {cut and len(cut)} bytes")


def test_no_cut_of_a_zip_goes_unseen(whole_archive):
    path, truth = whole_archive
    if path.is_dir():
        pytest.skip("a folder is cut file by file")
    data = path.read_bytes()
    for length in np.linspace(0, len(data) - 1, 40).astype(int):
        with content(path, data[:length]):
            require_no_harm(path, truth, f"{path} cut to {length} bytes")
