"""Turns of images in one process: in order, within the budget, the next while one settles."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import dask.config
import pytest

from voxarray.cohort.run.throttle import MemoryThrottle, at_once, at_work

MIB = 1 << 20


@pytest.fixture
def share():
    with dask.config.set({"voxarray.threads": 1, "voxarray.memory-budget": 100 * MIB}):
        yield


class Taker(threading.Thread):
    """Takes a turn and keeps it until told."""

    def __init__(self, turns: MemoryThrottle, peak: int | None) -> None:
        super().__init__(daemon=True)
        self._turns, self._peak = turns, peak
        self._leave, self._settle = threading.Event(), threading.Event()
        self.has = threading.Event()
        self.start()

    def run(self) -> None:
        with self._turns.acquire(self._peak) as encoding_done:
            self.has.set()
            self._settle.wait()
            encoding_done()
            self._leave.wait()

    def settle(self) -> None:
        self._settle.set()

    def leave(self) -> None:
        self._settle.set()
        self._leave.set()
        self.join(10)


def waits(taker: Taker) -> bool:
    return not taker.has.wait(0.1)


def test_one_at_work_and_the_next_while_it_settles(share):
    assert (at_work(), at_once()) == (1, 2)
    turns = MemoryThrottle()
    first = Taker(turns, 40 * MIB)
    assert first.has.wait(10)
    second = Taker(turns, 40 * MIB)
    assert waits(second)
    first.settle()
    assert second.has.wait(10)
    first.leave()
    second.leave()


@pytest.mark.parametrize("peak", [61 * MIB, None])
def test_images_that_settle_still_need_their_memory(share, peak):
    turns = MemoryThrottle()
    first = Taker(turns, 40 * MIB)
    assert first.has.wait(10)
    first.settle()
    second = Taker(turns, peak)
    assert waits(second)
    third = Taker(turns, 1)  # fits, but the order is kept: else a large one might never begin
    assert waits(third)
    first.leave()
    assert second.has.wait(10)
    second.leave()
    assert third.has.wait(10)
    third.leave()


def test_one_alone_always_has_its_turn(share):
    turns = MemoryThrottle()
    with turns.acquire(500 * MIB):
        other = Taker(turns, 1)
        assert waits(other)
    assert other.has.wait(10)
    other.leave()


def test_a_turn_ends_with_an_error(share):
    turns = MemoryThrottle()
    with pytest.raises(ValueError, match="bad"), turns.acquire(None):
        raise ValueError("bad")
    with ExitStack() as stack:
        stack.enter_context(turns.acquire(None))


def test_what_is_under_way_never_exceeds_the_budget():
    with dask.config.set({"voxarray.threads": 8, "voxarray.memory-budget": 100 * MIB}):
        turns, lock = MemoryThrottle(), threading.Lock()
        now, most = 0, 0

        def convert(peak: int) -> None:
            nonlocal now, most
            with turns.acquire(peak) as encoding_done:
                with lock:
                    now += peak
                    most = max(most, now)
                time.sleep(0.001)
                encoding_done()
                time.sleep(0.001)
                with lock:
                    now -= peak

        threads = [
            threading.Thread(target=convert, args=((10 + 7 * number % 50) * MIB,))
            for number in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert now == 0
    assert 60 * MIB < most <= 100 * MIB


def test_blocks_of_a_converted_image_leave_the_cache(tmp_path):
    import gzip

    import numpy as np

    import voxarray as vx
    from voxarray.cohort.run.build import build
    from voxarray.source.block_cache import BLOCKS

    BLOCKS.clear()
    other = tmp_path / "other.nii.gz"
    vx.ScalarImage(tensor=np.ones((1, 9, 9, 9), "i2")).save(other)
    vx.ScalarImage(other)[..., 0].load()
    kept = BLOCKS.nbytes
    assert kept
    text = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 8 8 8\nencoding: ascii\n\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.nrrd").write_text(text + "7 " * 512)
    (tmp_path / "in/b.nii.gz").write_bytes(gzip.compress(gzip.decompress(other.read_bytes())))
    build([tmp_path / "in"], tmp_path / "out")
    assert BLOCKS.nbytes == kept
