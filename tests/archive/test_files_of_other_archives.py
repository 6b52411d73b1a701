"""No file or chunk of another archive of the same shape is taken for the one that was written."""

from __future__ import annotations

import itertools
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from archive_samples import OBLIQUE, archive

from voxarray.archive.profiles import PROFILES
from voxarray.archive.shard import index_size, tail_size
from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.core.errors import VoxarrayError
from voxarray.geometry.selection import Selection
from voxarray.storage import mapped_shard

CODECS = sorted(PROFILES)
SUFFIXES = (".ome.zarr", ".ozx")
SHAPE = (2, 17, 12, 10)
SHARD = "scale0/image/c/0/0/0/0"
SHARDS_BELOW = ("scale1/image/c/0/0/0/0", "labels/seg/scale0/image/c/0/0/0/0")

# What differs between archives of one shape: voxels, places, names of labels, weights.
AFFINES = [OBLIQUE, OBLIQUE + np.diag([0.25, 0, 0, 0]), OBLIQUE @ np.diag([1, 1, -1, 1])]


def image(seed: int, dtype: str) -> np.ndarray:
    """Voxels that no codec makes smaller, so that chunks of all archives are equally long."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(SHAPE).astype(dtype)
    return rng.integers(0, 60_000, SHAPE, dtype)


def made(folder: Path, codec: str, suffix: str) -> list[Path]:
    """Archives of one shape."""
    dtype = {"labels": "u1", "raw": "f4"}.get(codec, "u2")
    made = []
    for seed, affine in enumerate(AFFINES):
        voxels = image(seed, "u2") % 250 if codec == "labels" else image(seed, dtype)
        seg = image(seed + 10, "u2")[:1] % 3
        made.append(
            archive(
                folder / f"{seed}{suffix}",
                voxels.astype(dtype),
                affine,
                labels={"seg": seg.astype("u1")},
                codec=codec,
                chunk=4,
                levels=2,
            )
        )
    return made


def reads(path: Path) -> Iterator[tuple[str, object]]:
    """Everything that can be read, or the code of the error of ours that it gives."""
    for name, number in itertools.product(("", "labels/seg"), (0, 1)):
        for key in ((...,), (slice(3), -1, slice(None, None, -2))):
            yield f"{name} {number} {key}", _read(path / name, number, key)


def _read(path: Path, number: int, key: object) -> object:
    try:
        level = open_archive(path).level(number)
        facts = (level.shape, level.dtype, level.affine.tobytes(), level.nifti_header)
        counts = level.label_counts
        sums = level.weight_sums(0)
        voxels = level.read(Selection.whole(level.shape)[key]).tobytes()
        return (*facts, repr(counts), repr(sums), voxels)
    except VoxarrayError as error:
        return error


def silent(path: Path, truth: dict[str, object]) -> list[str]:
    """Reads that give something else than they did, and no error."""
    identified = path if path.is_file() else path / "manifest.json"
    silent.clock += 1  # nothing that this process knows of the archive is of this one
    os.utime(identified, ns=(silent.clock,) * 2)
    return [
        name
        for name, seen in reads(path)
        if not isinstance(seen, VoxarrayError) and seen != truth[name]
    ]


silent.clock = 10**18


def members(path: Path) -> list[str]:
    if path.is_file():
        with zipfile.ZipFile(path) as opened:
            return sorted(opened.namelist())
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def content(path: Path, key: str) -> bytes:
    if path.is_file():
        with zipfile.ZipFile(path) as opened:
            return opened.read(key)
    return (path / key).read_bytes()


def replace(path: Path, key: str, data: bytes) -> None:
    """Put other bytes in the place of a file; of a zip, and its own checksums agree."""
    if path.is_dir():
        (path / key).write_bytes(data)
        return
    packed = path.with_suffix(".new")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info, data if info.filename == key else old.read(info))
        new.comment = old.comment
    packed.replace(path)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Archives of one shape and what reading them gives, made when first asked for."""
    found: dict[tuple[str, str], list[tuple[Path, dict[str, object]]]] = {}

    def family(codec: str, suffix: str) -> list[tuple[Path, dict[str, object]]]:
        if (codec, suffix) not in found:
            folder = tmp_path_factory.mktemp(f"{codec}{suffix}")
            paths = made(folder, codec, suffix)
            found[codec, suffix] = [(path, dict(reads(path))) for path in paths]
        return found[codec, suffix]

    return family


def exchanged(
    mine: tuple[Path, dict[str, object]], key: str, data: bytes, folder: Path
) -> list[str]:
    """What is believed of an archive of which one file holds other bytes."""
    path, truth = mine
    copy = folder / path.name
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
    try:
        replace(copy, key, data)
        found = [f"{key}: {name} is read in silence" for name in silent(copy, truth)]
        problems = verify(copy)
        named = [one for one in problems if key == one.where or key in one.message]
        if not (problems if key == "manifest.json" else named):
            found.append(f"{key}: verify does not name it")
        return found
    finally:
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()


def exchanges(family: list[tuple[Path, dict[str, object]]]) -> Iterator[tuple[int, str, bytes]]:
    """An archive's number, one of its files, and what that file holds in another archive."""
    for mine, other in itertools.permutations(range(len(family)), 2):
        for key in members(family[mine][0]):
            theirs = content(family[other][0], key)
            if theirs != content(family[mine][0], key):
                yield mine, key, theirs


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        # Each codec once, folders and zips in turns; all pairs in the soak.
        pytest.param(codec, suffix, marks=() if (n + m) % 2 else pytest.mark.slow)
        for n, codec in enumerate(CODECS)
        for m, suffix in enumerate(SUFFIXES)
    ],
)
def test_no_file_of_another_archive_is_taken_for_its_own(families, tmp_path, codec, suffix):
    family = families(codec, suffix)
    found = list(exchanges(family))
    kinds = {key for _, key, _ in found}
    assert len(kinds) > 15  # shards of all levels, coordinates, header, counts, documents
    assert any(len(data) == len(content(family[n][0], key)) for n, key, data in found)
    some = [one for one in found if one[0] == 0 or one[1] == SHARD][: len(kinds)]
    for number, key, data in some:
        assert exchanged(family[number], key, data, tmp_path) == []


@pytest.mark.slow
def test_a_thousand_exchanges(families, tmp_path):
    done = 0
    for codec, suffix in itertools.product(CODECS, SUFFIXES):
        for number, key, data in exchanges(families(codec, suffix)):
            assert exchanged(families(codec, suffix)[number], key, data, tmp_path) == []
            done += 1
    assert done >= 1000, done


@pytest.mark.parametrize(
    ("shard", "codec", "suffix"),
    [
        # As above: the same archives, of which each worker makes its own.
        pytest.param(shard, codec, suffix, marks=() if (n + m) % 2 else pytest.mark.slow)
        for shard in (SHARD, *SHARDS_BELOW)
        for n, codec in enumerate(CODECS)
        for m, suffix in enumerate(SUFFIXES)
    ],
)
def test_no_chunk_of_another_archive_is_taken_however_it_is_sealed(
    families, tmp_path, codec, suffix, shard
):
    """A chunk of the same length, with its entry in the table, or with all of the other tail."""
    family = families(codec, suffix)
    slots = tail_slots(family[0][0], shard)
    for number, other in ((0, 1), (1, 2))[: 2 if shard == SHARD else 1]:
        mine, theirs = (content(family[n][0], shard) for n in (number, other))
        seen = 0
        for slot in range(slots):
            at, length = entry(mine, slots, slot)
            there, size = entry(theirs, slots, slot)
            if length != size or at < 0 or mine[at : at + length] == theirs[there : there + size]:
                continue
            chunk = mine[:at] + theirs[there : there + size] + mine[at + length :]
            for sealed in (
                chunk,
                with_checksum(chunk, slots, slot),
                mine_with_tail(mine, theirs, slots),
            ):
                if seen < (6 if shard == SHARD else 3):
                    assert exchanged(family[number], shard, sealed, tmp_path) == []
                    seen += 1
        assert seen or codec == "labels" or shard.startswith("labels/")


def tail_slots(path: Path, shard: str = SHARD) -> int:
    layer, _, level = shard.partition("/image/")[0].rpartition("scale")
    read = open_archive(path / layer).level(int(level))
    return int(np.prod(read.array.layout.chunks_per_shard))


def entry(shard: bytes, slots: int, slot: int) -> tuple[int, int]:
    """Offset and length of a chunk; -1 where it is absent."""
    table = np.frombuffer(shard[-index_size(slots) : -4], "<i8").reshape(-1, 2)
    return int(table[slot, 0]), int(table[slot, 1])


def with_checksum(shard: bytes, slots: int, slot: int) -> bytes:
    """A shard whose table holds the checksum of a chunk as it is."""
    at, length = entry(shard, slots, slot)
    crc = google_crc32c.value(shard[at : at + length - 4]).to_bytes(4, "little")
    place = len(shard) - tail_size(slots) + 4 * slot
    return shard[:place] + crc + shard[place + 4 :]


def mine_with_tail(mine: bytes, theirs: bytes, slots: int) -> bytes:
    """A shard with the whole tail of another."""
    return mine[: -tail_size(slots)] + theirs[-tail_size(slots) :]


@pytest.mark.parametrize("codec", CODECS)
def test_chunks_that_change_places_within_a_shard_are_seen(families, tmp_path, codec):
    family = families(codec, ".ome.zarr")
    path, slots = family[0][0], tail_slots(family[0][0])
    shard = content(path, SHARD)
    spans = [entry(shard, slots, slot) for slot in range(slots)]
    pairs = [
        (one, other)
        for one, other in itertools.combinations(spans, 2)
        if one[0] >= 0 and one[1] == other[1] and shard[slice_of(one)] != shard[slice_of(other)]
    ]
    assert pairs or codec == "labels"
    for one, other in pairs[:5]:
        data = bytearray(shard)
        data[slice_of(one)], data[slice_of(other)] = shard[slice_of(other)], shard[slice_of(one)]
        assert exchanged(family[0], SHARD, bytes(data), tmp_path) == []


def slice_of(span: tuple[int, int]) -> slice:
    return slice(span[0], span[0] + span[1])


def test_a_shard_that_is_exchanged_while_the_archive_is_open_is_seen(tmp_path):
    """The archive was opened, its shards were not: sizes agree, the manifest is the same."""
    one, other = made(tmp_path, "raw", ".ome.zarr")[:2]
    opened = open_archive(one)
    mapped_shard.forget()
    shutil.copy(other / SHARD, one / SHARD)
    with pytest.raises(VoxarrayError) as caught:
        opened.read(Selection.whole(opened.shape))
    assert caught.value.code == "BAD_CHECKSUM"
    assert SHARD in caught.value.message
