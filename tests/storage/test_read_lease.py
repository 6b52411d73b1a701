"""Patches that are copied from a map: only while nobody may change the file."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from voxarray.core import page_cache
from voxarray.core.errors import TruncatedError, VoxarrayError
from voxarray.formats.npy.read import open_npy
from voxarray.geometry.selection import Selection
from voxarray.storage import raw_voxels, read_lease
from voxarray.storage.raw_voxels import RawVoxels

SHAPE = (1, 40, 256, 256)
BOX = [range(1), range(2, 40, 3), range(5, 90), range(7, 100, 2)]

pytestmark = pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")


@pytest.fixture(params=["<i2", ">f4"])
def stored(request, tmp_path):
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(request.param)
    (tmp_path / "a.raw").write_bytes(b"x" * 77 + array.tobytes())
    return tmp_path / "a.raw", array


def read(path, dtype, box=BOX, shape=SHAPE):
    out = np.empty([len(r) for r in box], dtype.newbyteorder("="))
    fd = os.open(path, os.O_RDONLY)
    try:
        RawVoxels(77, shape, dtype).read(fd, box, out)
    finally:
        os.close(fd)
    return out


@pytest.fixture
def no_reading(monkeypatch):
    """Only maps."""

    def refuse(*_):
        raise AssertionError("the file was read")

    monkeypatch.setattr(raw_voxels, "read_exactly", refuse)


def can_lease(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        with read_lease.mapped_under_read_lease(fd) as data:
            return data is not None
    finally:
        os.close(fd)


def test_the_same_voxels_from_the_map(stored, no_reading):
    path, array = stored
    if not can_lease(path):
        pytest.skip("this file system has no leases")
    assert np.array_equal(read(path, array.dtype), array[np.ix_(*BOX)])


def test_who_writes_keeps_it_from_being_mapped(stored):
    path, array = stored
    with open(path, "r+b"):
        assert not can_lease(path)
        assert np.array_equal(read(path, array.dtype), array[np.ix_(*BOX)])


def test_without_leases_it_is_read(stored, monkeypatch):
    path, array = stored
    monkeypatch.setattr(read_lease, "fcntl", None)
    assert np.array_equal(read(path, array.dtype), array[np.ix_(*BOX)])


def test_large_boxes_of_whole_rows_are_read(stored, monkeypatch):
    path, array = stored
    monkeypatch.setattr(read_lease, "mapped_under_read_lease", lambda _: pytest.fail("mapped"))
    box = [range(1), range(2, 40), range(256), range(256)]
    assert np.array_equal(read(path, array.dtype, box), array[np.ix_(*box)])


def test_a_file_that_ends_too_early(stored):
    path, array = stored
    longer = (1, 41, *SHAPE[2:])
    with pytest.raises(TruncatedError):
        read(path, array.dtype, [range(1), range(41), *BOX[2:]], longer)


def test_who_wants_to_truncate_waits_for_the_copy(stored):
    path, _ = stored
    if not can_lease(path):
        pytest.skip("this file system has no leases")
    fd = os.open(path, os.O_RDONLY)
    thread = threading.Thread(target=os.truncate, args=(path, 10))
    with read_lease.mapped_under_read_lease(fd) as data:
        thread.start()
        time.sleep(0.1)
        assert thread.is_alive()  # and no signal has ended us
        assert data[-1] >= 0  # the last byte is still there
        del data
    thread.join(10)
    os.close(fd)
    assert os.path.getsize(path) == 10


def test_pages_are_given_back(stored, monkeypatch, no_reading):
    path, array = stored
    if not can_lease(path):
        pytest.skip("this file system has no leases")
    monkeypatch.setattr(page_cache, "LEAST_BYTES", array.nbytes + page_cache.FOLIO)
    monkeypatch.setattr(page_cache, "_allowed", 0)
    given = []
    give_back = page_cache.give_back
    monkeypatch.setattr(page_cache, "give_back", lambda: given.append(give_back()))
    monkeypatch.setattr("voxarray.core.memory.cache_limit", lambda: 0)
    for _ in range(2):
        assert np.array_equal(read(path, array.dtype), array[np.ix_(*BOX)])
    assert given
    monkeypatch.setattr(read_lease, "MOST_MAPS", 0)
    read_lease._maps.clear()
    assert np.array_equal(read(path, array.dtype), array[np.ix_(*BOX)])
    assert not read_lease._maps


RESIDENT = """
import os, sys
import numpy as np
from voxarray.core import memory, page_cache
from voxarray.storage import raw_voxels

fd = os.open(sys.argv[1], os.O_RDONLY)
page_cache.MOST_BYTES, page_cache.LEAST_BYTES, raw_voxels.MAX_SPAN = 9 << 20, 6 << 20, 4 << 20
raw_voxels.read_exactly = None
voxels = raw_voxels.RawVoxels(0, (512, 256, 256), np.dtype("u1"))
before, most = memory.resident_files(), 0


def look_and(act):
    def act_and_look(*given):
        global most
        most = max(most, memory.resident_files() - before)
        return act(*given)

    return act_and_look


page_cache.give_back = look_and(page_cache.give_back)
page_cache.give_back_around = look_and(page_cache.give_back_around)
patches = [[range(z, z + 48), range(96, 144), range(48)] for z in range(0, 464, 48)]
for box in patches if sys.argv[2] == "patches" else [[range(512), range(256), range(9, 10)]]:
    voxels.read(fd, box, np.empty([len(r) for r in box], "u1"))
look_and(int)()
print(most)
"""


@pytest.mark.parametrize(("boxes", "limit"), [("patches", 9), ("a plane across all rows", 4)])
def test_what_is_resident_is_bounded_whatever_a_fault_maps(tmp_path, boxes, limit):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(1 << 25))
    if not can_lease(path):
        pytest.skip("this file system has no leases")
    command = [sys.executable, "-c", RESIDENT, str(path), boxes]
    found = subprocess.run(command, capture_output=True, text=True)
    assert 0 < int(found.stdout) <= limit << 20, found.stderr


READS = """
import sys, time
import numpy as np
from voxarray.core.errors import VoxarrayError
from voxarray.geometry.selection import Selection
from voxarray.formats.npy.read import open_npy

path, ends = sys.argv[1], time.monotonic() + 3
right = refused = 0
while time.monotonic() < ends:
    try:
        source = open_npy(path)
        whole = Selection.whole(source.shape)
        for _ in range(5):
            voxels = source.read(whole[5:100, 5:100, 2:38])
            assert (voxels == voxels.flat[0]).all(), "parts of two files"
            right += 1
    except VoxarrayError:
        refused += 1
print(right, refused)
"""


def test_a_file_that_is_rewritten_all_the_time(tmp_path):
    """Neither killed (SIGBUS, SIGIO) nor given what never was in one file."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((160, 160, 40), "i2", order="F"))
    arguments = [sys.executable, "-c", READS, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as reader:
        number = 0
        while reader.poll() is None:
            number += 1
            np.save(path, np.full((160, 160, 40), number % 1000, "i2", order="F"))
            time.sleep(0.002 * (number % 5))
            os.truncate(path, 1000 * (number % 7))
        _, refused = map(int, reader.stdout.read().split())
    assert reader.returncode == 0
    assert refused > 0


def test_truncated_after_it_was_opened(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((160, 160, 40), "i2", order="F"))
    source = open_npy(path)
    part = Selection.whole(source.shape)[5:100, 5:100, 2:38]
    assert (source.read(part) == 1).all()
    os.truncate(path, 5000)
    with pytest.raises(VoxarrayError):
        source.read(part)
