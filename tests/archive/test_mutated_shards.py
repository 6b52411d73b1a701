"""Shards with any bytes changed: a named error or the right voxels, and the process lives.

What decodes is C, so every reading runs in a process of its own, whose end is watched. The file is
changed below a reader that has it open, and below one that opens it anew, with the manifest as it
was; and with the tail, its table and the manifest made to agree, as somebody might who means harm.
By compiled loops, every reading is made without them too, and both must end alike; so must boxes
of chunks whose blocks were checked before, if everything agrees with the damage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archive_samples import archive, blobs

READER = """
import json, os, sys
import dask.config, google_crc32c, numpy as np
from voxarray.archive import accelerated, handle_cache
from voxarray.archive.manifest import KEY, FileEntry, Manifest
from voxarray.archive.shard import index_size, tail_size
from voxarray.archive.source import open_archive
from voxarray.core.errors import VoxarrayError
from voxarray.geometry.selection import Selection
from voxarray.storage.store import TreeStore

path, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
by_loops, by_blocks = sys.argv[4] == "loops", sys.argv[4] == "blocks"
manifest = Manifest.read(TreeStore(path))
key = "scale0/image/c/0/0/0/0"
file, whole = f"{path}/{key}", open(f"{path}/{key}", "rb").read()
seal = open(f"{path}/{KEY}", "rb").read()
source = open_archive(path)
n, w, h, d = source.shape
everything = Selection((range(n), range(w), range(h), range(d)))
expected = source.read(everything)
slots = int(np.prod(source.array.layout.chunks_per_shard))
table = len(whole) - tail_size(slots)
index = np.frombuffer(whole[-index_size(slots):-4], "<u8").reshape(-1, 2)
present = [i for i in range(slots) if index[i, 0] != 2**64 - 1]


def mutated():
    data = bytearray(whole)
    kind = rng.integers(6)
    slot = present[rng.integers(len(present))]
    begin, size = (int(v) for v in index[slot])
    # Headers and tables of blosc and the tail are small, and decide the most.
    places = [
        range(len(data)), range(begin, begin + 16), range(begin, begin + min(size, 64)),
        range(table, len(data)), range(begin, begin + size),
    ]
    place = places[rng.integers(len(places))]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(place.start, place.stop))
        data[at] = [data[at] ^ (1 << rng.integers(8)), 0, 255, rng.integers(256)][rng.integers(4)]
    if kind == 0:
        data = data[: rng.integers(len(data))]
    elif kind == 1:
        at, other = (int(v) for v in rng.integers(0, len(data), 2))
        length = int(rng.integers(1, 200))
        data[at : at + length] = data[other : other + length]
    return bytes(data)


def forge(data):
    # Every checksum agrees with what it is about: only what decodes stands in between.
    data = bytearray(data)
    if len(data) < tail_size(slots):
        return bytes(data), None
    tail = len(data) - tail_size(slots)
    index = np.frombuffer(bytes(data[-index_size(slots):-4]), "<u8").reshape(-1, 2)
    for slot in range(slots):
        begin, size = (int(v) for v in index[slot])
        if begin + size <= tail and 4 <= size:
            crc = google_crc32c.value(bytes(data[begin : begin + size - 4])).to_bytes(4, "little")
            data[begin + size - 4 : begin + size] = crc
            data[tail + 4 * slot : tail + 4 * slot + 4] = crc
    data[-4:] = google_crc32c.value(bytes(data[-index_size(slots):-4])).to_bytes(4, "little")
    files = {**manifest.files, key: FileEntry.of(bytes(data), tail_size(slots))}
    return bytes(data), Manifest(files, manifest.source).to_bytes()


def attempt(box):
    try:
        seen = reader.read(box)
    except VoxarrayError as error:
        return error.code, str(error)
    same = seen.tobytes() == expected[np.ix_(*box.ranges)].tobytes()
    return "same" if same else "other", seen.tobytes()


def thin(span, size):
    low = int(span[0])
    return range(low, min(low + 1 + int(rng.integers(9)), size))


if by_loops or by_blocks:
    dask.config.set({"voxarray.threads": 1})  # of several errors, the first is raised
if by_loops:
    accelerated._WORTHWHILE = 0
    assert accelerated.loops(1) is not None


def attack(forged):
    global reader, rng
    rng, outcomes = np.random.default_rng(seed), {}
    for number in range(count):
        if forged or not by_blocks:
            handle_cache._shards.clear()
        data, sealed = mutated(), None
        if forged:
            data, sealed = forge(data)
        boxes = [everything]
        for _ in range(3):
            spans = [sorted(rng.choice(size + 1, 2, replace=False)) for size in (w, h, d)]
            x, y, z = (range(int(a), int(b)) for a, b in spans)
            boxes.append(Selection((range(n), x, y, thin(z, d) if by_blocks else z)))
            if by_blocks and not forged:
                reader = source
                assert attempt(boxes[-1])[0] == "same"
        with open(file, "r+b") as out:
            out.truncate(len(data))
            out.write(data)
        if sealed is not None:
            with open(f"{path}/.new", "wb") as out:
                out.write(sealed)
            os.replace(f"{path}/.new", f"{path}/{KEY}")
        reader = open_archive(path) if forged else source
        for box in boxes:
            accelerated._WORTHWHILE = 1 << 60
            outcome, seen = attempt(box)
            if by_loops or (by_blocks and forged):
                accelerated._WORTHWHILE = 0 if by_loops else 1 << 60
                if attempt(box) != (outcome, seen):
                    outcome = "differs"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        with open(file, "r+b") as out:
            out.truncate(len(whole))
            out.write(whole)
        if forged:
            with open(f"{path}/{KEY}", "wb") as out:
                out.write(seal)
    return outcomes


print(json.dumps({"damaged": attack(False), "forged": attack(True)}))
"""

COUNT = int(os.environ.get("VOXARRAY_MUTATED_SHARDS", "60"))
SEED = int(os.environ.get("VOXARRAY_MUTATED_SEED", "100"))  # others draw other mutants
PROFILES = ("default", "fast", "training", "raw", "labels")


BY_LOOPS = PROFILES if COUNT > 60 else ("training",)  # loading them takes a second


@pytest.mark.parametrize("codec", PROFILES)
def test_no_mutated_shard_is_read_in_silence_or_ends_the_process(tmp_path, codec):
    check(tmp_path / "a.ome.zarr", codec, "plain")


@pytest.mark.parametrize("codec", BY_LOOPS)
def test_compiled_loops_end_as_reading_without_them(tmp_path, codec):
    pytest.importorskip("numba")
    for found in check(tmp_path / "a.ome.zarr", codec, "loops"):
        assert found.get("differs", 0) == 0, found


@pytest.mark.parametrize("codec", ["default", "fast"])
def test_blocks_checked_before_find_the_same_damage_as_chunks(tmp_path, codec):
    for found in check(tmp_path / "a.ome.zarr", codec, "blocks"):
        assert found.get("differs", 0) == 0, found


def check(path: Path, codec: str, way: str) -> list[dict[str, int]]:
    shape, chunk = ((1, 34, 20, 18), 16) if way != "blocks" else ((1, 66, 40, 70), 64)
    archive(path, blobs(shape), chunk=chunk, codec=codec, levels=1)
    ends = outcomes(path, len(codec) + SEED, COUNT, way)
    assert set(ends["damaged"]) - {"same"} <= {
        "BAD_CHECKSUM",
        "TRUNCATED",
        "BAD_SIZE",
        "BAD_CHUNK_SIZE",
        "SOURCE_CHANGED",
    }
    for found in ends.values():
        assert sum(found.values()) == 4 * COUNT
        assert sum(found.values()) > found.get("same", 0), found
    return [*ends.values()]


def outcomes(path: Path, seed: int, count: int, way: str) -> dict[str, dict[str, int]]:
    """How many readings ended in which way, of damaged and of forged shards."""
    command = [sys.executable, "-c", READER, str(path), str(seed), str(count), way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found
