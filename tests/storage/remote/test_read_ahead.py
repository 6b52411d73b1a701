"""Chunks that are fetched before their patch is asked for: those alone, once, within bounds."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from pathlib import Path

import dask.config
import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.archive import read_ahead, remote_store
from voxarray.core import memory, thread_pools
from voxarray.core.errors import ChecksumError, SourceChangedError
from voxarray.patches import foreseen
from voxarray.patches.locations import UniformDraw
from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.remote import arrivals, objects, prefetch, request_slots

SIZE = 9


def save(bucket, seed=0, name="a", **options):
    voxels = np.random.default_rng(seed).integers(1, 900, (1, 60, 50, 40)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(f"{bucket.url}/{name}.ome.zarr", chunks=8, **options)
    objects.forget()
    return voxels


def dataset(bucket, count=30, kind=vx.PatchDataset, **options):
    subject = vx.Subject(t1=vx.ScalarImage(f"{bucket.url}/a.ome.zarr"))
    return kind([subject], vx.UniformSampler(SIZE), count, **options)


def require_right(patch, voxels):
    x, y, z, *_ = patch["location"].tolist()
    expected = voxels[:, x : x + SIZE, y : y + SIZE, z : z + SIZE]
    np.testing.assert_array_equal(patch["t1"]["data"].numpy(), expected)


def read_all(patches, indices, voxels=None):
    for index in indices:
        patch = patches[index]
        if voxels is not None:
            require_right(patch, voxels)


def chunks_of(patches):
    """Positions of the chunks of some patches."""
    found = set()
    for patch in patches:
        starts = [int(n) for n in patch["location"][:3]]
        axes = [range(start // 8, (start + SIZE - 1) // 8 + 1) for start in starts]
        found |= {(x, y, z) for x in axes[0] for y in axes[1] for z in axes[2]}
    return found


def require_each_fetched_once(puts, patches):
    """Chunks of these patches were put into the cache once each, and no others."""
    assert set(puts.values()) == {1}
    assert len(puts) == len(chunks_of(patches))


def settled():
    """Wait until nothing is under way any more."""
    thread = thread_pools.preparing_thread()
    idle = threading.Event()
    thread.submit(idle.set)
    assert idle.wait(20)
    for _ in range(2000):
        if not read_ahead.read_ahead()._coming:
            return
        time.sleep(0.01)
    raise AssertionError("a fetch does not end")


@pytest.fixture
def kept(kept):
    yield kept
    settled()


@pytest.fixture
def puts(monkeypatch):
    """How often each chunk was put into the cache: once for each time that it was fetched."""
    found, put = Counter(), ChunkCache.put

    def counted(cache, name, data):
        found[name] += 1
        put(cache, name, data)

    monkeypatch.setattr(ChunkCache, "put", counted)
    return found


@pytest.fixture
def ahead(monkeypatch):
    """Numbers of parts that are fetched ahead at once, and of bytes: the most of each."""
    most, begin = {"parts": 0, "all": 0, "bytes": 0, "fetched": 0}, request_slots.Slots.begin_ahead

    def counted(one, requests, is_wanted):
        result = begin(one, requests, is_wanted)
        most["fetched"] += result
        if not is_wanted:  # what somebody waits for by now may take the places of others
            most["parts"] = max(most["parts"], one.ahead if result else 0)
        most["all"] = max(most["all"], one.all)
        most["bytes"] = max(most["bytes"], prefetch._prefetches._bytes)
        return result

    monkeypatch.setattr(request_slots.Slots, "begin_ahead", counted)
    return most


def files(folder):
    return [file for file in Path(folder).rglob("*") if file.is_file()]


def test_the_next_patches_are_fetched_while_two_are_read(bucket, kept, puts):
    voxels = save(bucket)
    patches = dataset(bucket)
    for index in range(2):
        require_right(patches[index], voxels)
    settled()
    with dask.config.set({"voxarray.remote-cache": 0}):
        window = dataset(bucket)
        ready = chunks_of([window[index] for index in range(2 + foreseen.PATCHES_AHEAD)])
    assert set(puts.values()) == {1}
    assert len(puts) == len(files(kept)) == len(ready)


@pytest.mark.parametrize("asked", [range(30), range(29, -1, -1), range(0, 30, 3)])
def test_a_pass_in_order_fetches_each_chunk_of_its_patches_once(server, bucket, kept, puts, asked):
    voxels = save(bucket)
    server.delay = 0.01
    patches = dataset(bucket)
    found = [patches[index] for index in asked]
    for patch in found:
        require_right(patch, voxels)
    settled()
    require_each_fetched_once(puts, found)


def test_a_batch_is_fetched_at_once(server, bucket, kept, puts, ahead):
    voxels = save(bucket)
    server.delay = 0.01
    patches = dataset(bucket)
    found = patches.__getitems__([17, 3, 25, 8])
    for patch in found:
        require_right(patch, voxels)
    settled()
    assert ahead["fetched"] > 0
    require_each_fetched_once(puts, found)


@pytest.mark.parametrize("asked", [[7], [4, 9, 2, 21], [5, 5, 5]])
def test_without_an_order_nothing_else_is_fetched(bucket, kept, puts, ahead, asked):
    save(bucket)
    patches = dataset(bucket)
    found = [patches[index] for index in asked]
    settled()
    assert ahead["fetched"] == 0
    assert len(puts) == len(chunks_of(found))


def test_without_a_cache_nothing_is_fetched(bucket, ahead):
    voxels = save(bucket)
    patches = dataset(bucket)
    for index in range(8):
        require_right(patches[index], voxels)
    settled()
    assert ahead["fetched"] == 0


def test_nothing_is_looked_for_when_all_is_in_the_cache(bucket, kept, monkeypatch):
    save(bucket)
    patches = dataset(bucket)
    for _ in range(2):
        for index in range(30):
            patches[index]
        settled()
    asked = []
    monkeypatch.setattr(foreseen.Foreseen, "_fetch", lambda one: asked.append(one))
    for index in range(30):
        patches[index]
    settled()
    assert asked == []


def test_places_that_are_drawn_ahead_are_those_of_the_epoch(bucket, kept):
    save(bucket)
    patches, plain = dataset(bucket), dataset(bucket)
    for epoch in (0, 1, 0):
        patches.set_epoch(epoch)
        plain.set_epoch(epoch)
        found = [patches[index]["location"].tolist() for index in range(5)]
        settled()
        expected = [plain[index]["location"].tolist() for index in (4, 0, 3, 1, 2)]
        assert found == [expected[n] for n in (1, 3, 4, 2, 0)]


def test_centres_that_are_drawn_by_a_label_map(server, bucket, kept, puts):
    voxels = save(bucket)
    labels = (voxels % 3).astype("u1")
    vx.LabelMap(tensor=labels).save(f"{bucket.url}/seg.ome.zarr", chunks=8)
    objects.forget()
    server.delay = 0.005

    def made():
        scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
        subject = vx.Subject(t1=scan, seg=vx.LabelMap(f"{bucket.url}/seg.ome.zarr"))
        return vx.PatchDataset([subject], vx.LabelSampler(SIZE, "seg", {1: 1, 2: 3}), 20)

    patches = made()
    found = [patches[index] for index in range(20)]
    settled()
    assert set(puts.values()) == {1}
    plain = made()
    for index in reversed(range(0, 20, 7)):
        assert plain[index]["location"].tolist() == found[index]["location"].tolist()
    for patch in found:
        require_right(patch, voxels)


def test_images_of_one_patch_are_fetched_side_by_side(server, bucket, kept, puts, ahead):
    voxels = save(bucket)
    for name in ("b", "c"):
        save(bucket, name=name)
    server.delay = 0.02
    images = {name: vx.ScalarImage(f"{bucket.url}/{name}.ome.zarr") for name in "abc"}
    patches = vx.PatchDataset([vx.Subject(images)], vx.UniformSampler(SIZE), 9)
    patch = patches[5]
    settled()
    assert ahead["fetched"] > 0
    assert set(puts.values()) == {1}
    assert len(puts) == 3 * len(chunks_of([patch]))
    for name in "abc":
        require_right({"location": patch["location"], "t1": patch[name]}, voxels)


def test_an_archive_in_one_file(server, bucket, kept, puts, ahead, tmp_path):
    voxels = np.random.default_rng(0).integers(1, 900, (1, 60, 50, 40)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.ozx", chunks=8)
    server.objects[f"{bucket.name}/a.ozx"] = (tmp_path / "a.ozx").read_bytes()
    server.delay = 0.01
    subject = vx.Subject(t1=vx.ScalarImage(f"{bucket.url}/a.ozx"))
    patches = vx.PatchDataset([subject], vx.UniformSampler(SIZE), 12)
    found = [patches[index] for index in range(12)]
    for patch in found:
        require_right(patch, voxels)
    settled()
    assert ahead["fetched"] > 0
    require_each_fetched_once(puts, found)


def test_a_dataset_that_is_iterated_over_knows_its_order(server, bucket, kept, puts, ahead):
    voxels = save(bucket)
    server.delay = 0.01
    found = list(dataset(bucket, kind=vx.IterablePatchDataset, shuffle_buffer=4))
    for patch in found:
        require_right(patch, voxels)
    settled()
    assert ahead["fetched"] > 0
    require_each_fetched_once(puts, found)


# --- Bounds ---------------------------------------------------------------------------------------


def test_requests_under_way_stay_within_the_setting(server, bucket, kept, ahead):
    save(bucket)
    server.delay = 0.02
    with dask.config.set({"voxarray.remote-requests": 5}):
        patches = dataset(bucket)
        for index in range(20):
            patches[index]
        settled()
    assert 0 < ahead["parts"] <= 5 - request_slots.RESERVED
    assert ahead["all"] <= 5


def test_few_requests_leave_none_for_what_is_ahead(bucket, kept, ahead):
    save(bucket)
    with dask.config.set({"voxarray.remote-requests": 2}):
        patches = dataset(bucket)
        for index in range(6):
            patches[index]
        settled()
    assert ahead["fetched"] == 0


def test_bytes_under_way_stay_within_their_share_of_the_budget(server, bucket, kept, ahead):
    voxels = save(bucket)
    server.delay = 0.01
    with dask.config.set({"voxarray.memory-budget": 64 * 4096}):
        assert memory.ahead_limit() == 4096
        patches = dataset(bucket)
        for index in range(20):
            require_right(patches[index], voxels)
        settled()
    assert 0 < ahead["bytes"] <= 4096


def test_a_process_that_is_pressed_fetches_nothing_ahead(bucket, kept, ahead, monkeypatch):
    monkeypatch.setattr(memory, "is_pressed", lambda: True)
    save(bucket)
    patches = dataset(bucket)
    for index in range(6):
        patches[index]
    settled()
    assert ahead["fetched"] == 0


def test_what_is_not_read_yet_takes_a_share_of_the_cache(bucket, tmp_path, ahead):
    save(bucket)
    values = {"voxarray.remote-cache": 80_000, "voxarray.remote-cache-directory": str(tmp_path)}
    with dask.config.set(values):
        patches = dataset(bucket)
        for index in range(2):
            patches[index]
        settled()
        assert sum(patches._loader._foreseen._asked.values()) <= 10_000


def test_nothing_of_what_came_stays_in_memory(server, bucket, kept):
    save(bucket)
    patches = dataset(bucket)
    for index in range(4):
        patches[index]
    settled()
    assert prefetch._prefetches._bytes == 0
    assert request_slots.slots().all == request_slots.slots().ahead == 0
    assert not read_ahead.read_ahead()._read_now


# --- What goes wrong ------------------------------------------------------------------------------


def test_what_fails_ahead_is_read_by_whoever_needs_it(server, bucket, kept, monkeypatch):
    voxels = save(bucket)
    failed = []

    async def fail(*_):
        failed.append(1)

    monkeypatch.setattr(prefetch, "asked", fail)
    patches = dataset(bucket)
    for index in range(12):
        require_right(patches[index], voxels)
    assert failed


def test_what_planning_raises_is_not_lost(bucket, kept, monkeypatch):
    voxels = save(bucket)
    patches = dataset(bucket)
    reader = patches._loader.reading.reader(0)
    monkeypatch.setattr(type(reader), "fetch", lambda *_: 1 // 0)
    for index in range(6):
        require_right(patches[index], voxels)


def test_an_error_of_the_store_is_raised_by_the_read(server, bucket, kept):
    save(bucket)
    patches = dataset(bucket)
    for index in range(2):
        patches[index]
    settled()
    key = f"{bucket.name}/a.ome.zarr/scale0/image/c/0/0/0/0"
    whole = server.objects.pop(key)
    with pytest.raises(SourceChangedError, match="was deleted"):
        read_all(patches, range(2, 30))
    settled()
    server.objects[key] = whole
    assert patches[29]["t1"]["data"].shape == (1, SIZE, SIZE, SIZE)


def test_a_source_that_changes_midway_is_an_error(server, bucket, kept, puts):
    voxels = save(bucket)
    patches = dataset(bucket)
    for index in range(2):
        require_right(patches[index], voxels)
    settled()
    before = set(puts)
    save(bucket, 1, overwrite=True)
    # What was in the cache is of the archive that was opened.
    with pytest.raises(SourceChangedError):
        read_all(patches, range(2, 30), voxels)
    settled()
    assert set(puts) == before


def test_damage_in_the_store_is_found_by_the_read(server, bucket, kept):
    save(bucket)
    patches = dataset(bucket)
    assert patches[0]["t1"]["data"].shape == (1, SIZE, SIZE, SIZE)
    patches._loader.reading.reader(0)
    tag = prefetch.asked

    async def damaged(*args):
        data = await tag(*args)
        return None if data is None else bytes(byte ^ 255 for byte in bytes(data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefetch, "asked", damaged)
        with suppress(ChecksumError):  # it came while it was waited for
            patches[1]
        settled()
    for index in range(2, 30):  # what lies in the cache is fetched anew
        assert patches[index]["t1"]["data"].shape == (1, SIZE, SIZE, SIZE)


def test_a_full_disk_ends_it(bucket, kept, ahead, monkeypatch):
    voxels = save(bucket)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    patches = dataset(bucket)
    for index in range(3):
        require_right(patches[index], voxels)
    settled()
    fetched = ahead["fetched"]
    for index in range(3, 20):
        require_right(patches[index], voxels)
    settled()
    assert ahead["fetched"] == fetched
    assert files(kept) == []


def test_two_threads_read_the_same_patches(server, bucket, kept, puts):
    voxels = save(bucket)
    server.delay = 0.005
    wrong = []

    def read(patches):
        try:
            for index in range(30):
                require_right(patches[index], voxels)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(dataset(bucket),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_a_whole_read_meets_what_is_on_its_way(server, bucket, kept):
    voxels = save(bucket)
    server.delay = 0.02
    patches = dataset(bucket)
    for index in range(2):
        patches[index]
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    np.testing.assert_array_equal(scan.numpy(), voxels)


def test_a_dataset_is_pickled_while_it_reads_ahead(server, bucket, kept):
    voxels = save(bucket)
    server.delay = 0.01
    patches = dataset(bucket)
    for index in range(3):
        patches[index]
    copy = pickle.loads(pickle.dumps(patches))
    for index in range(5):
        require_right(copy[index], voxels)


WORKERS = (
    f"SIZE = {SIZE}\n"
    + """
import sys, torch, dask.config
from torch.utils.data import DataLoader
import voxarray as vx

url, endpoint, folder, how, first = sys.argv[1:]
options = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "key",
           "secret_access_key": "secret", "virtual_hosted_style_request": False,
           "client_options": {"allow_http": True}}
dask.config.set({"voxarray.remote-options": {"s3": options}, "voxarray.remote-cache": "64 MiB",
                 "voxarray.remote-cache-directory": folder})
if __name__ == "__main__":
    subject = vx.Subject(t1=vx.ScalarImage(url))
    patches = vx.PatchDataset([subject], vx.UniformSampler(SIZE), 30)
    if how == "exit":
        for index in range(int(first)):
            patches[index]
    else:
        loader = DataLoader(patches, batch_size=3, num_workers=2, multiprocessing_context=how,
                            timeout=60)
        locations = torch.cat([batch["location"] for batch in loader])
        found = torch.cat([batch["t1"]["data"] for batch in loader])
        torch.save((locations, found), folder + ".pt")
    print("done", flush=True)
"""
)


def run(bucket, folder, tmp_path, how, first="2"):
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    url = f"{bucket.url}/a.ome.zarr"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), url, bucket.endpoint, str(folder), how, first],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "done", done.stderr[-3000:]
    assert done.returncode == 0
    return time.monotonic() - began, done.stderr


@pytest.mark.parametrize("how", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_loader(server, bucket, kept, tmp_path, how):
    voxels = save(bucket)
    server.delay = 0.005
    run(bucket, kept, tmp_path, how)
    locations, found = torch.load(f"{kept}.pt")
    assert len(found) == 30
    for location, data in zip(locations, found, strict=True):
        require_right({"location": location, "t1": {"data": data}}, voxels)
    assert not [file for file in files(kept) if file.name.endswith(".part")]


@pytest.mark.parametrize("first", [pytest.param("2", marks=pytest.mark.slow), "9"])
def test_the_end_of_the_process_waits_for_nothing(server, bucket, kept, tmp_path, first):
    save(bucket)
    server.delay = 0.2
    _, said = run(bucket, kept, tmp_path, "exit", first)
    assert "Traceback" not in said
    assert not [file for file in files(kept) if file.name.endswith(".part")]


def test_a_chunk_that_an_index_has_twice_is_not_waited_for():
    one = read_ahead.ReadAhead()
    own, new = {}, {}
    assert one.claim(["a", "a", "b"], own) == {}
    assert list(own) == ["a", "b"]
    others = one.claim(["b"], {})
    assert not others["b"].done.done()
    one.let_go({"b": own["b"]})
    assert others["b"].chunk(0, 1) is None
    one.claim(["b"], new)
    one.let_go(own)  # all of them at the end of the read, but not what another has claimed since
    assert one.is_under_way("b")
    assert not one.is_under_way("a")
    one.let_go(new)
    assert not one.is_under_way("b")


def test_a_read_that_fails_keeps_no_other_read_waiting(server, bucket, kept, monkeypatch):
    save(bucket)
    scans = [vx.ScalarImage(f"{bucket.url}/a.ome.zarr") for _ in range(3)]
    waiting, all_wait = Counter(), threading.Event()
    ask, wait_for = remote_store.RemoteTree.arrivals, read_ahead.ByAnother.chunk

    def ask_late(store, parts):  # the first read asks when both threads of the pool wait for it
        all_wait.wait(20)
        server.objects.pop(f"{bucket.name}/a.ome.zarr/scale0/image/c/0/0/0/0", None)
        return ask(store, parts)

    def counted(one, *args):
        waiting[threading.get_ident()] += 1
        if len(waiting) == 4:
            all_wait.set()
        return wait_for(one, *args)

    monkeypatch.setattr(remote_store.RemoteTree, "arrivals", ask_late)
    monkeypatch.setattr(read_ahead.ByAnother, "chunk", counted)
    raised = []

    def read(scan):
        with pytest.raises(SourceChangedError):
            scan.numpy()
        raised.append(scan)

    threads = [threading.Thread(target=read, args=(scan,), daemon=True) for scan in scans]
    with dask.config.set({"voxarray.threads": 2}):
        for thread in threads:
            thread.start()
            time.sleep(0.3)
        for thread in threads:
            thread.join(10)
    assert all_wait.is_set()
    assert len(raised) == 3


def test_a_read_that_is_interrupted_while_it_claims_keeps_nothing(bucket, kept, monkeypatch):
    voxels = save(bucket)
    scan, claim = vx.ScalarImage(f"{bucket.url}/a.ome.zarr"), read_ahead.ReadAhead.claim

    def interrupted(*args):
        claim(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(read_ahead.ReadAhead, "claim", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.numpy()
    assert not read_ahead.read_ahead()._read_now
    np.testing.assert_array_equal(scan.numpy(), voxels)


class PanicException(BaseException):
    """As that of Rust."""


def test_a_panic_of_the_transport_keeps_nobody_waiting(bucket, kept, monkeypatch):
    voxels = save(bucket)
    panics = []

    class Panicking:
        async def get_async(self, *_, **__):
            panics.append(1)
            raise PanicException

    monkeypatch.setattr(arrivals, "obstore", Panicking)
    patches = dataset(bucket)
    reading = threading.Thread(target=read_all, args=(patches, range(6), voxels), daemon=True)
    reading.start()
    reading.join(20)
    assert not reading.is_alive()
    assert panics


@pytest.mark.parametrize("kind", [vx.PatchDataset, vx.IterablePatchDataset])
def test_a_dataset_that_is_dropped_is_gone_at_once(bucket, kept, kind):
    save(bucket)
    patches = dataset(bucket, kind=kind)
    for _ in zip(patches, range(3), strict=False):
        pass
    settled()
    loader = weakref.ref(patches._loader)
    gc.disable()
    try:
        del patches
        assert loader() is None
    finally:
        gc.enable()


def test_a_dataset_that_is_iterated_over_draws_each_place_once(server, bucket, kept, monkeypatch):
    save(bucket)
    server.delay = 0.005
    drawn, start = [], UniformDraw.start

    def counted(one, random):
        drawn.append(1)
        return start(one, random)

    monkeypatch.setattr(UniformDraw, "start", counted)
    assert len(list(dataset(bucket, kind=vx.IterablePatchDataset))) == 30
    settled()
    assert len(drawn) == 30
