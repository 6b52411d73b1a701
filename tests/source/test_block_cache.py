from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from voxarray.source.block_cache import BlockCache


def block(size):
    return np.zeros(size, np.uint8)


def test_least_recently_used_blocks_go_first():
    cache = BlockCache(lambda: 100)
    for key in "abc":
        cache.get(key, lambda: block(30))
    cache.get("a", lambda: pytest.fail("it is there"))
    cache.get("d", lambda: block(30))
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    assert (cache.nbytes, cache.blocks_made) == (90, 4)


def test_a_block_beyond_the_limit_is_made_but_not_kept():
    cache = BlockCache(lambda: 100)
    cache.get("small", lambda: block(60))
    assert cache.get("large", lambda: block(101)).nbytes == 101
    assert "small" in cache
    assert "large" not in cache


def test_clearing():
    cache = BlockCache(lambda: 100)
    cache.get("a", lambda: block(60))
    cache.clear()
    assert cache.nbytes == 0
    assert "a" not in cache
    assert cache.get("a", lambda: block(7)).nbytes == 7  # a new one, not what was made before


def test_threads_that_want_one_block_make_it_once():
    cache = BlockCache(lambda: 100)
    gate = threading.Barrier(8)
    slow = threading.Event()

    def make():
        slow.wait(0.05)
        return block(10)

    def fetch(_):
        gate.wait()
        return cache.get("a", make)

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(fetch, range(8)))
    assert cache.blocks_made == 1
    assert all(found is blocks[0] for found in blocks)


def test_everybody_hears_of_a_failure_and_the_next_one_tries_again():
    cache = BlockCache(lambda: 100)
    started, proceed = threading.Event(), threading.Event()

    def fail():
        started.set()
        proceed.wait(5)
        raise ValueError("no")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "a", fail)
        started.wait(5)
        second = pool.submit(cache.get, "a", fail)
        proceed.set()
        for future in (first, second):
            with pytest.raises(ValueError, match="no"):
                future.result()
    assert cache.get("a", lambda: block(3)).nbytes == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_waits_for_no_thread_of_its_parent():
    cache = BlockCache(lambda: 100)
    cache.survive_forks()
    kept = cache.get("kept", lambda: block(10))
    started, proceed = threading.Event(), threading.Event()

    def slow():
        started.set()
        proceed.wait(10)
        return block(20)

    thread = threading.Thread(target=cache.get, args=("a", slow))
    thread.start()
    started.wait(5)
    child = os.fork()
    if child == 0:
        good = cache.get("a", lambda: block(5)).nbytes == 5
        good &= cache.get("kept", lambda: block(1)) is kept
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    proceed.set()
    thread.join()
    assert "a" in cache


def test_no_more_blocks_than_can_be_kept_track_of(monkeypatch):
    """What names a block takes memory, too: a hundred thousand tiny ones took gigabytes."""
    monkeypatch.setattr("voxarray.source.block_cache.MOST_BLOCKS", 3)
    cache = BlockCache(lambda: 100)
    for key in "abcd":
        cache.get(key, lambda: block(1))
    assert [key in cache for key in "abcd"] == [False, True, True, True]
    assert cache.nbytes == 3


def test_blocks_of_one_file_are_dropped_and_others_stay():
    cache = BlockCache(lambda: 1 << 20)
    for key in (("a", 1), ("a", 2), ("b", 1), "c"):
        cache.get(key, lambda: np.zeros(100, "u1"))
    cache.drop(lambda key: key[0] == "a")
    assert cache.nbytes == 200
    assert ("a", 1) not in cache
    assert ("b", 1) in cache


def test_process_near_its_limit_keeps_nothing(monkeypatch):
    cache = BlockCache(lambda: 1 << 20)
    cache.get("a", lambda: np.zeros(100, "u1"))
    monkeypatch.setattr("voxarray.source.block_cache.is_pressed", lambda: True)
    assert cache.get("b", lambda: np.ones(100, "u1")).all()
    assert cache.nbytes == 0
    assert "a" not in cache
