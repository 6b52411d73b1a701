"""Boxes read by compiled loops: the voxels and the errors that are read without them."""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import itertools
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import google_crc32c
import numpy as np
import pytest
from archive_samples import archive, blobs, voxels
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from voxarray.archive import accelerated, handle_cache, read_jobs
from voxarray.archive.source import open_archive
from voxarray.core.errors import VoxarrayError
from voxarray.core.numba_permission import may_compile
from voxarray.geometry.selection import Selection

pytest.importorskip("numba")

PROFILES = ("default", "fast", "training", "compact", "labels")
# Codecs by the voxels, and beside them what blosc stores as it is.
SAMPLES = [
    ("u1", "default", (1, 40, 33, 37), 16),
    ("i2", "training", (2, 21, 40, 35), 16),
    ("i2", "fast", (1, 37, 19, 50), 16),
    ("f4", "training", (1, 30, 31, 17), 16),
    ("f8", "compact", (1, 18, 20, 33), 16),
    ("u4", "labels", (1, 40, 33, 37), 32),
    ("i8", "training", (3, 9, 17, 11), 16),
    ("i2", "default", (1, 40, 33, 37), 64),
    ("c8", "fast", (1, 17, 16, 15), 16),
    ("c16", "default", (1, 17, 16, 15), 16),
    ("i2", "raw", (1, 17, 16, 15), 16),
]


@contextmanager
def reading(by_loops: bool):
    """Reads by compiled loops, or without; counts the chunks of the former."""
    done: list[int] = []
    inner = accelerated.Box.read

    def counted(self, first, stop, shards):
        found = inner(self, first, stop, shards)
        done.append(found - first)
        return found

    with (
        mock.patch.object(accelerated, "_WORTHWHILE", 0 if by_loops else 1 << 60),
        mock.patch.object(accelerated.Box, "read", counted),
    ):
        yield done


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Archives with signal of every kind: random bits, few values, smooth, background."""
    folder = tmp_path_factory.mktemp("compiled")
    made = []
    for number, (dtype, codec, shape, chunk) in enumerate(SAMPLES):
        array = blobs(shape, dtype, number)
        half = shape[1] // 3
        array[:, :half] = voxels((shape[0], half, *shape[2:]), dtype, number)
        array[:, half : 2 * half] = np.arange(array[0, 0].size).reshape(shape[2:]) // 5
        path = archive(folder / f"{number}.ome.zarr", array, chunk=chunk, codec=codec, levels=1)
        made.append((open_archive(path), array))
    return made


@pytest.fixture
def untried():
    """As in a process that has not compiled anything yet."""
    accelerated._tried.cache_clear()
    yield
    accelerated._tried.cache_clear()


@st.composite
def boxes(draw, shape):
    ranges = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        step = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2, -1]))
        one = range(start, stop, abs(step))
        ranges.append(one if step > 0 else one[::-1])
    return Selection(tuple(ranges))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_voxels_are_the_same(samples, data):
    source, array = data.draw(st.sampled_from(samples))
    box = data.draw(boxes(source.shape))
    order = data.draw(st.sampled_from([(0, 1, 2, 3), (0, 3, 2, 1), (3, 0, 1, 2), (1, 2, 3, 0)]))
    margin = data.draw(st.integers(0, 2))
    spread = [box.shape[axis] + margin for axis in order]
    outs = []
    for by_loops in (True, False):
        memory = np.full(spread, 77, source.dtype)
        out = memory.transpose(np.argsort(order))[tuple(slice(0, n) for n in box.shape)]
        with reading(by_loops):
            source.read_into(box, out)
            again = source.read(box)
        outs.append(memory.tobytes())
        wanted = array[np.ix_(*box.ranges)]
        assert again.tobytes() == out.tobytes() == np.ascontiguousarray(wanted).tobytes()
    assert outs[0] == outs[1]  # nothing beside the box was written


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_loops_read_what_they_can(samples, number, threads):
    source, array = samples[number]
    with reading(by_loops=True):
        assert accelerated.loops(1) is not None  # the chunks of their trial are not counted
    with vx_threads(threads), reading(by_loops=True) as done:
        assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()
    dtype, codec, *_ = SAMPLES[number]
    counts = source.array.layout.chunk_counts
    is_read = dtype != "c16" and codec != "raw"
    assert sum(done) == (np.prod(counts) if is_read else 0)


def test_threads_share_the_chunks_of_a_box(samples, monkeypatch):
    """However often they take turns: a generator would raise where two advance it at once."""
    source, array = samples[0]
    monkeypatch.setattr(read_jobs, "_CHUNKS_AT_A_TIME", 1)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with vx_threads(4), reading(by_loops=True):
            for _ in range(60):
                assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()
    finally:
        sys.setswitchinterval(before)


def test_what_numba_keeps_goes_when_the_words_of_the_machine_change():
    pytest.importorskip("numba")
    from voxarray.archive import compiled, machine_words

    digest = hashlib.sha256(Path(machine_words.__file__).read_bytes()).hexdigest()[:16]
    assert digest == compiled.MACHINE_WORDS, "put it into compiled.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_that_was_forked_amid_compiling_does_without():
    pytest.importorskip("numba")
    from numba.core.compiler_lock import global_compiler_lock

    held, done = threading.Event(), threading.Event()

    def hold():
        with global_compiler_lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        os._exit(may_compile())
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert may_compile()


@contextmanager
def vx_threads(threads):
    import dask.config

    with dask.config.set({"voxarray.threads": threads}):
        yield


@pytest.fixture
def tried_before():
    """The chunks of the trial, which a process decodes once, are not counted in a test."""
    accelerated._tried()


def test_contiguous_memory_is_filled_by_loops(samples, tried_before):
    source, array = samples[1]
    out = np.empty(source.shape, source.dtype)
    with reading(by_loops=True) as done:
        source.read_into(Selection.whole(source.shape), out)
    assert sum(done) == np.prod(source.array.layout.chunk_counts)
    assert np.array_equal(out, array)


@pytest.mark.parametrize("name", ["intensity", "label", "training"])
def test_shards_without_a_table_of_checksums_are_read(tmp_path, name, tried_before):
    path = tmp_path / f"{name}.ozx"
    packed = Path(__file__).with_name("version_1") / f"{name}.ozx.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    source = open_archive(path)
    whole = Selection.whole(source.shape)
    with reading(by_loops=False):
        wanted = source.read(whole)
    with reading(by_loops=True) as done:
        assert source.read(whole).tobytes() == wanted.tobytes()
    assert sum(done) == np.prod(source.array.layout.chunk_counts)


@pytest.mark.parametrize("codec", ["default", "training", "labels"])
@pytest.mark.parametrize("what", ["voxel", "header", "length", "gone"])
def test_errors_are_the_same(tmp_path, codec, what):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 40, 33, 37)), chunk=16, codec=codec, levels=1)
    source = open_archive(path)
    shards = [source.array._shard(one) for one in source.array.layout.shards()]
    index = shards[0].index
    slot = max(range(len(index.lengths)), key=index.lengths.__getitem__)
    file = path / "scale0/image/c/0/0/0/0"
    if what == "length":
        shards[0].index.lengths[slot] -= 1
        assert index is shards[0].index
    elif what == "gone":
        file.unlink()
        handle_cache._shards.clear()
    else:
        at = index.offsets[slot] + (8 if what == "header" else index.lengths[slot] // 2)
        data = bytearray(file.read_bytes())
        data[at] ^= 16
        with open(file, "r+b") as out:
            out.write(data)
    del shards
    seen = []
    for by_loops in (True, False):
        with vx_threads(1), reading(by_loops), pytest.raises(VoxarrayError) as caught:
            source.read(Selection.whole(source.shape))
        seen.append((type(caught.value), caught.value.code, str(caught.value)))
    assert seen[0] == seen[1]
    handle_cache._shards.clear()


@contextmanager
def forged(source, slot, changes):
    """Other bytes in a chunk, whose checksums agree: what decodes is all that stands in between."""
    shard = source.array._shard((0, 0, 0, 0))
    index, file = shard.index, f"{source.path}/{source.array.key}/c/0/0/0/0"
    begin, size, crc = index.offsets[slot], index.lengths[slot] - 4, index.crcs[slot]
    was = Path(file).read_bytes()
    data = bytearray(was)
    for place, bits in changes:
        data[begin + place % size] ^= bits
    try:
        with open(file, "r+b") as out:
            out.write(data)
        index.crcs[slot] = google_crc32c.value(bytes(data[begin : begin + size]))
        shard._tables.clear()
        yield
    finally:
        with open(file, "r+b") as out:
            out.write(was)
        index.crcs[slot] = crc
        shard._tables.clear()


def ends(source, box):
    """What comes of reading by compiled loops, and without."""
    seen = []
    for by_loops in (True, False):
        with vx_threads(1), reading(by_loops):
            try:
                seen.append(source.read(box).tobytes())
            except VoxarrayError as error:
                seen.append(str(error))
    return seen


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_forged_frames_end_alike(samples, data):
    source, _ = data.draw(st.sampled_from(samples[:9]))
    offsets = source.array._shard((0, 0, 0, 0)).index.offsets
    slot = data.draw(st.sampled_from([n for n, offset in enumerate(offsets) if offset >= 0]))
    place = st.integers(0, 40) | st.integers(0, 1 << 20)
    changes = data.draw(st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=3))
    box = data.draw(boxes(source.shape))
    with forged(source, slot, changes):
        by_loops, plain = ends(source, box)
    assert by_loops == plain


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.slow if n % 2 else ()) for n in range(9)]
)
def test_every_bit_of_a_header_ends_alike(samples, number):
    source, _ = samples[number]
    lengths = source.array._shard((0, 0, 0, 0)).index.lengths
    slots = {max(range(len(lengths)), key=lengths.__getitem__)}
    slots.add(min((n for n, size in enumerate(lengths) if size), key=lengths.__getitem__))
    whole = Selection.whole(source.shape)
    for slot, bit in itertools.product(slots, range(8 * 20)):
        with forged(source, slot, [(bit // 8, 1 << bit % 8)]):
            by_loops, plain = ends(source, whole)
        assert by_loops == plain, (slot, bit)


def test_a_chunk_that_the_loops_refuse_is_read_without_them(samples):
    source, array = samples[0]
    refused = []

    def refusing(self, first, stop, shards):
        refused.append(first)
        return first

    with (
        mock.patch.object(accelerated, "_WORTHWHILE", 0),
        mock.patch.object(accelerated.Box, "read", refusing),
        vx_threads(1),
    ):
        assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()
    chunks = int(np.prod(source.array.layout.chunk_counts))
    assert set(range(chunks)) <= set(refused)


@pytest.mark.parametrize("missing", ["function", "library", "result"])
def test_without_the_functions_voxels_are_read_as_ever(samples, untried, missing):
    source, array = samples[0]
    found = accelerated._addresses()
    wrong = (found[0], ctypes.cast(ctypes.CDLL(None).strnlen, ctypes.c_void_p).value, *found[2:])
    effects = {
        "function": {"side_effect": AttributeError("LZ4_decompress_safe")},
        "library": {"side_effect": OSError("no such library")},
        "result": {"return_value": wrong},
    }
    with (
        mock.patch.object(accelerated, "_addresses", **effects[missing]),
        reading(by_loops=True) as done,
    ):
        assert accelerated.loops(1) is None
        done.clear()  # of the trial
        assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()
    assert not done


@pytest.mark.parametrize("broken", ["numba", "disk"])
def test_loops_that_numba_cannot_compile_warn_once(samples, untried, broken):
    source, array = samples[0]
    refusal = {
        "numba": mock.patch.object(accelerated, "_is_right", side_effect=ImportError("NumPy")),
        "disk": mock.patch("tempfile.TemporaryFile", side_effect=OSError("no space left")),
    }
    with refusal[broken], reading(by_loops=True):
        with pytest.warns(
            RuntimeWarning, match="loops that numba compiles to read archives failed"
        ):
            assert accelerated.loops(1) is None
        assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()


def test_the_setting_turns_them_off(samples):
    import dask.config

    source, array = samples[0]
    with dask.config.set({"voxarray.compiled-loops": False}), reading(by_loops=True) as done:
        assert source.read(Selection.whole(source.shape)).tobytes() == array.tobytes()
    assert not done


def test_nobody_waits_for_a_thread_that_compiles(untried):
    with reading(by_loops=True), accelerated._lock:
        assert accelerated.loops(1) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_amid_compiling_does_without(untried):
    with reading(by_loops=True), accelerated._lock:
        child = os.fork()
        if not child:
            os._exit(accelerated.loops(1) is None)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    child = os.fork()
    if not child:
        os._exit(may_compile())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_tight_budget_has_no_room_for_numba(untried):
    import dask.config

    with dask.config.set({"voxarray.memory-budget": "1023 MiB"}), reading(by_loops=True):
        assert accelerated.loops(1) is None
        assert not accelerated._tried.cache_info().currsize


def test_a_process_that_reads_little_does_not_load_numba(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 40, 33, 37)), chunk=16, levels=1)
    code = (
        "import sys, voxarray as vx; from voxarray.archive import accelerated, reader\n"
        f"image = vx.ScalarImage({os.fspath(path)!r})\n"
        "for _ in range(20): image[4:30, 4:30, 4:30].data\n"
        "assert accelerated._chunks >= 20, accelerated._chunks\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_batches_are_read_by_loops(tmp_path):
    array = blobs((1, 40, 33, 37))
    path = archive(tmp_path / "a.ome.zarr", array, chunk=16, codec="training", levels=1)
    subject = vx.Subject(t1=vx.ScalarImage(path))
    dataset = vx.PatchDataset([subject], vx.UniformSampler(12), patches_per_image=4)
    with reading(by_loops=False):
        wanted = [dataset[i]["t1"]["data"].clone() for i in range(4)]
    with reading(by_loops=True) as done:
        seen = [dataset[i]["t1"]["data"] for i in range(4)]
    assert sum(done) >= 4
    for one, other in itertools.zip_longest(seen, wanted):
        assert one.stride() == other.stride()
        assert bool((one == other).all())
