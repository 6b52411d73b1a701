"""Decoded blocks that are kept for the next read, in one bounded place per process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from voxarray.core.memory import cache_limit, is_pressed


class Sized(Protocol):
    """Something that knows how many bytes it holds."""

    @property
    def nbytes(self) -> int: ...


Block = TypeVar("Block", bound=Sized)

MOST_BLOCKS = 1 << 14
"""Blocks that are kept at most: of small ones, keys and objects take more than voxels (20 KB each
were seen where a library decodes)."""


class BlockCache:
    """Blocks by key, the least recently used ones dropped when they exceed a limit.

    Safe to share between threads: a block that several of them want is made once, and the others
    wait for it. After a fork the child keeps the blocks (the memory is shared until written to,
    and nobody writes) and forgets what threads of the parent were making.

    Args:
        limit: Says how many bytes to keep; asked whenever a block is added.

    Attributes:
        nbytes: Bytes held now.
        made: Blocks made so far, that is, requests that could not be answered from here.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, Future[Any]] = {}
        self.nbytes = 0
        self.blocks_made = 0

    def get(self, key: Hashable, make: Callable[[], Block]) -> Block:
        """The block named ``key``, made if it is not here; never to be written to."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                cached: Block = self._blocks[key]
                return cached
            awaited = self._making.get(key)
            if awaited is None:
                promise = self._making[key] = Future()
        if awaited is not None:
            computed: Block = awaited.result()
            return computed
        return self._make(key, make, promise)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._blocks

    def clear(self) -> None:
        """Drop all blocks."""
        with self._lock:
            self._blocks.clear()
            self.nbytes = 0

    def drop(self, is_dropped: Callable[[Hashable], bool]) -> None:
        """Drop the blocks whose keys are ``is_dropped``, such as those of a file no longer read."""
        with self._lock:
            for key in [key for key in self._blocks if is_dropped(key)]:
                self.nbytes -= self._blocks.pop(key).nbytes

    def _make(self, key: Hashable, make: Callable[[], Block], promise: Future[Any]) -> Block:
        try:
            block = make()
            # Asked without the lock: it looks into files of the system.
            limit = self._limit()
        except BaseException as error:  # whoever waits must hear of Ctrl-C, too
            with self._lock:
                self._making.pop(key, None)
            promise.set_exception(error)
            raise
        with self._lock:
            self._making.pop(key, None)
            self.blocks_made += 1
            self._keep(key, block, limit)
        promise.set_result(block)
        return block

    def _keep(self, key: Hashable, block: Sized, limit: int) -> None:
        if is_pressed():  # a worker that dask pauses has no use of blocks
            self._blocks.clear()
            self.nbytes = 0
            return
        if block.nbytes > limit:  # it would push out everything and still not fit
            return
        self._blocks[key] = block
        self.nbytes += block.nbytes
        while self.nbytes > limit or len(self._blocks) > MOST_BLOCKS:
            self.nbytes -= self._blocks.popitem(last=False)[1].nbytes

    def _forget_threads(self) -> None:
        self._lock = threading.Lock()
        # The threads that were to keep these promises are not in the child.
        self._making = {}

    def survive_forks(self) -> None:
        """Make the lock free, and the blocks consistent, in every child of this process."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=lambda: self._lock.acquire(),
                after_in_parent=lambda: self._lock.release(),
                after_in_child=self._forget_threads,
            )


BLOCKS = BlockCache(cache_limit)
"""Decoded voxels of compressed files."""

BLOCKS.survive_forks()
