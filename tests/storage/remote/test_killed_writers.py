"""Conversions to a bucket that are killed: what is readable is right, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import killed_writer
import voxarray as vx
from buckets import Bucket, options, reached_through
from faulty_proxy import FaultyProxy
from voxarray.archive.verify import verify
from voxarray.core.errors import VoxarrayError
from voxarray.storage.remote import objects


class Writer:
    """A process that converts in processes of its own."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, killed_writer.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, **task):
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def writer():
    running = Writer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for number in range(2):
        voxels = np.random.default_rng(number).integers(1, 900, (1, 64, 64, 64)).astype("i2")
        vx.ScalarImage(tensor=voxels).save(folder / f"{number}.nii")
    return [folder / f"{number}.nii" for number in range(2)]


def kill(number):
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def found_at(url):
    """Voxels that are there; None if nobody may read any."""
    objects.forget()
    try:
        voxels = vx.ScalarImage(url).numpy()
    except VoxarrayError as error:
        if error.code not in ("NO_MANIFEST", "NOT_FOUND", "NO_NODE"):
            raise
        return None
    assert verify(url) == []
    return voxels


def attack(writer, server, bucket, scans: list[Path], url, overwrite, when):
    """Kill a conversion; the voxels that are there afterwards, and whether it was in time."""
    old, new = (vx.ScalarImage(scan).numpy() for scan in scans)
    if overwrite:
        vx.convert(scans[0], url)
    s3 = options(bucket.endpoint)
    ended = when(
        lambda: writer.start(source=str(scans[1]), destination=url, overwrite=overwrite, s3=s3)
    )
    found = found_at(url)
    if overwrite:
        assert found is not None
        assert np.array_equal(found, old) or np.array_equal(found, new)
    else:
        assert found is None or np.array_equal(found, new)
    done = found is not None and np.array_equal(found, new)
    if not done:
        vx.convert(scans[1], url, overwrite=overwrite)
        assert np.array_equal(found_at(url), new)
    return ended


def at_request(writer, server, number, is_served):
    """Kills the process before the request of this number, which is served all the same or not."""

    def when(start):
        seen, dead = 0, threading.Event()
        child = []
        ready = threading.Event()

        def before(request):
            nonlocal seen
            ready.wait(10)
            seen += 1
            if seen == number + 1:
                kill(child[0])
                dead.set()
            if dead.is_set() and not (is_served and seen == number + 1):
                raise ConnectionAbortedError

        server.before = before
        try:
            child.append(start())
            ready.set()
            status = writer.wait()
        finally:
            server.before = lambda _: None
        return status == 0

    return when


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_a_request(writer, server, bucket, scans, overwrite):
    # Of about twenty or thirty; every one in the soak.
    for count, number in enumerate((0, 11, 19, 21, 30) if overwrite else (3, 9, 12, 15, 21)):
        url = f"{bucket.url}/{number}.ome.zarr"
        attack(
            *(writer, server, bucket, scans, url, overwrite),
            at_request(writer, server, number, bool(count % 2)),
        )


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_every_request_with_latency_and_faults(writer, server, bucket, scans, overwrite):
    server.delay, server.faults, server.probability = 0.01, ("busy", "lost", "cut"), 0.05
    kills = 0
    for is_served in (False, True):
        ended, number = False, 0
        while not ended:
            url = f"{bucket.url}/{number}-{is_served}.ome.zarr"
            when = at_request(writer, server, number, is_served)
            ended = attack(writer, server, bucket, scans, url, overwrite, when)
            server.objects.clear()
            kills, number = kills + 1, number + 1
    assert kills > 30


def at_a_moment(writer, chance, longest):
    """Kills the process some time after it began."""

    def when(start):
        child = start()
        timer = threading.Timer(chance.uniform(0, longest), kill, (child,))
        timer.start()
        status = writer.wait()
        timer.cancel()
        return status == 0

    return when


def kill_at_moments(writer, bucket, scans, kills, longest, through=None):
    """Kill so many conversions, through a proxy; how many others ended before it."""
    chance = random.Random(0)
    killed = number = 0
    while killed < kills:
        url = f"{bucket.url}/{number}.ome.zarr"
        when = at_a_moment(writer, chance, longest)
        killed += not attack(writer, None, through or bucket, scans, url, bool(number % 2), when)
        number += 1
        for key in bucket.listed():
            bucket.delete(key)
    return number - killed


@pytest.mark.slow
def test_killed_at_any_time(writer, bucket, scans):
    kill_at_moments(writer, bucket, scans, 400, 0.6)


@pytest.mark.slow
def test_killed_behind_latency_and_faults_of_another_server(writer, moto_server, bucket, scans):
    """Five hundred kills at moto, each request 10 ms late, one in fifty with a fault."""
    if bucket.server is not None:
        pytest.skip("ours has faults of its own")
    with FaultyProxy(moto_server, 0.01, 0.02) as proxy, reached_through(proxy.url):
        through = Bucket(bucket.name, proxy.url)
        began = time.perf_counter()
        s3 = options(proxy.url)
        url = f"{bucket.url}/timed.ome.zarr"
        writer.start(source=str(scans[1]), destination=url, overwrite=False, s3=s3)
        assert writer.wait() == 0
        longest = 1.2 * (time.perf_counter() - began)  # some die after it was published
        ended = kill_at_moments(writer, bucket, scans, 500, longest, through)
        assert proxy.befallen > 100
    print(f"500 killed within {longest:.2f} s, {ended} ended before, {proxy.befallen} faults")
