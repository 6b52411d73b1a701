"""What the allocator keeps, where the environment wants all of it given back at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from voxarray.core import heap

_FAULTS = """
import resource, sys
import numpy as np
from voxarray.core import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(1 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
outside = faults()
with heap.freed_kept():
    with heap.freed_kept():
        faults()
    inside = faults()
print(outside, inside, faults())
"""


class Calls:
    """A C library that notes what it is asked for."""

    def __init__(self):
        self.seen = []

    def mallopt(self, option, value):
        self.seen.append((option, value))

    def malloc_trim(self, _):
        self.seen.append("trim")


@pytest.fixture
def calls(monkeypatch):
    library = Calls()
    monkeypatch.setattr(heap, "_library", lambda: library)
    monkeypatch.delenv(heap.MMAP_THRESHOLD, raising=False)
    return library.seen


def test_malloc_thresholds_are_restored_when_the_outermost_block_ends(calls, monkeypatch):
    monkeypatch.setenv(heap.TRIM_THRESHOLD, "65536")
    with heap.freed_kept():
        assert calls == [(-3, 32 << 20), (-1, 64 << 20)]
        with heap.freed_kept():
            pass
        assert len(calls) == 2
    assert calls[2:] == [(-3, 128 << 10), (-1, 65536), "trim"]


def test_it_ends_with_an_error_too(calls, monkeypatch):
    monkeypatch.setenv(heap.TRIM_THRESHOLD, "65536")
    monkeypatch.setenv(heap.MMAP_THRESHOLD, "1000000")
    with pytest.raises(ZeroDivisionError), heap.freed_kept():
        raise ZeroDivisionError
    assert calls[2:] == [(-3, 1_000_000), (-1, 65536), "trim"]


@pytest.mark.parametrize("given", [None, str(64 << 20), "", "much"])
def test_malloc_thresholds_stay_unless_the_environment_lowers_them(calls, monkeypatch, given):
    monkeypatch.delenv(heap.TRIM_THRESHOLD, raising=False)
    if given is not None:
        monkeypatch.setenv(heap.TRIM_THRESHOLD, given)
    with heap.freed_kept():
        pass
    assert calls == []


@pytest.mark.skipif(heap._library() is None, reason="the allocator of glibc")
def test_freed_buffers_are_no_fresh_pages():
    environment = {**os.environ, heap.TRIM_THRESHOLD: "65536"}
    environment.pop(heap.MMAP_THRESHOLD, None)
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS], env=environment, stdout=subprocess.PIPE, check=True
    )
    outside, inside, afterwards = map(int, done.stdout.split())
    assert outside > 50 * 200  # of 256 pages each
    assert inside < 50
    assert afterwards > 50 * 200
