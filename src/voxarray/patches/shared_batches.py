"""Memory that a worker lends to its main process with a batch in it, and gets back.

Fresh shared memory costs more than reading what goes into it: the system clears every page, and
both processes fault on each of them. So a worker keeps what it has shared, and fills it again when
nobody holds the batch that was in it. Whether that is so says one byte at the end of the memory,
which the worker sets before it writes, and the main process clears when its last tensor on it goes.

Tensors on such memory are plain tensors for everybody. Torch believes that their memory is not
shared, and copies where it sends them; only `share` hands the memory itself over, and what arrives
is a plain tensor again. Memory that does not come back, because a batch is kept, is not waited for:
the worker takes other memory, and forgets the oldest.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.multiprocessing.reductions import reduce_tensor

from voxarray.core import memory

_FREE, _HELD, _SPENT = range(3)
"""States: nobody holds it; somebody does; the main process will not know it a second time."""

_STATE_BYTES = 64
BY_VALUE = 4096
"""Bytes of the largest tensor that goes through the pipe, which beats a file descriptor."""


class Block:
    """Shared memory as a process sees it.

    Args:
        storage: Shared; its last bytes are the state.
    """

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.storage = storage
        view = torch.empty(0, dtype=torch.uint8)
        view.set_(storage, 0, (storage.nbytes(),))  # type: ignore[call-overload]
        buffer: NDArray[np.uint8] = view.numpy()
        self.bytes, self._state = buffer[:-_STATE_BYTES], buffer[-_STATE_BYTES:]

    @property
    def state(self) -> int:
        """Free, held or spent."""
        return int(self._state[0])

    @state.setter
    def state(self, state: int) -> None:
        with _fence:  # what was read or written before is done before the other process sees this
            self._state[0] = state


class Hold:
    """Keeps a block from being filled; arrays made of it, and tensors on these, refer to it.

    Args:
        block: The memory.
        after: State when the last of them is gone.
    """

    def __init__(self, block: Block, after: int) -> None:
        self.block, self.after = block, after
        self._process = os.getpid()
        self.__array_interface__ = block.bytes.__array_interface__

    def tensor(self) -> torch.Tensor:
        """The bytes of the block."""
        return torch.from_numpy(np.asarray(self))

    def __del__(self) -> None:
        # A fork copies holds, and may drop its copies while this process needs the memory.
        if self.after != _HELD and self._process == os.getpid():
            self.block.state = self.after


_fence = threading.RLock()  # a hold may go while another one's state is set


# --- In a worker ----------------------------------------------------------------------------------


class Slot(Block):
    """A block that this worker made.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        nbytes = -(-size // _STATE_BYTES) * _STATE_BYTES + _STATE_BYTES
        # As torch's own `default_collate` does.
        super().__init__(
            torch.UntypedStorage._new_shared(nbytes)  # type: ignore[no-untyped-call]
        )
        self.number = next(_numbers)
        self.known = False
        self.hold: Callable[[], Hold | None] = lambda: None

    def take(self) -> torch.Tensor:
        """The bytes, held until the tensor is gone, or until the main process lets go."""
        self.state = _HELD
        hold = Hold(self, _FREE)
        self.hold = weakref.ref(hold)
        return hold.tensor()


_numbers = itertools.count()
_slots: list[Slot] = []


def borrow(size: int) -> torch.Tensor | None:
    """At least ``size`` bytes of memory that can be lent; None if that is more than may be kept."""
    _slots[:] = [slot for slot in _slots if slot.state != _SPENT]
    for slot in _slots:
        # Not much larger memory, or a few small batches would hold all that may be kept.
        if slot.state == _FREE and size <= slot.bytes.size <= 2 * size + _STATE_BYTES:
            return slot.take()
    limit = memory.cache_limit()
    if size > limit:
        return None
    slot = Slot(size)
    _slots.append(slot)
    # The oldest go: sizes of batches change, and what fitted long ago fits least.
    while sum(slot.bytes.size for slot in _slots) > limit:
        _slots.pop(0)
    return slot.take()


class SharedTensor(torch.Tensor):
    """A tensor that arrives in the main process as a plain one, in the memory that it has here."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def share(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, to be sent: in borrowed memory without a copy, and by value if it is small."""
    return tensor.as_subclass(SharedTensor)


def _reduce(tensor: SharedTensor) -> Any:
    plain = tensor.as_subclass(torch.Tensor)
    if plain.nbytes <= BY_VALUE:
        return torch.from_numpy, (plain.contiguous().numpy(),)
    at = plain.untyped_storage().data_ptr()
    slots = list(_slots)  # another thread may borrow meanwhile
    slot = next((s for s in slots if s.bytes.ctypes.data == at), None)
    hold = slot.hold() if slot else None
    if slot is None or hold is None or hold.after == _HELD:  # not ours, or on its way already
        return reduce_tensor(plain)  # type: ignore[no-untyped-call]
    hold.after = _HELD  # now it is for the main process to say
    storage = None if slot.known else slot.storage
    slot.known = True
    layout = plain.dtype, tuple(plain.shape), plain.stride(), plain.storage_offset()
    return _receive, (os.getpid(), slot.number, slots[0].number, storage, *layout)


ForkingPickler.register(SharedTensor, _reduce)


# --- In the main process --------------------------------------------------------------------------

_blocks: dict[int, dict[int, Block]] = {}
"""Memory of each living worker, by process and number."""


def _receive(
    worker: int,
    number: int,
    oldest: int,
    storage: torch.UntypedStorage | None,
    dtype: torch.dtype,
    shape: Sequence[int],
    stride: Sequence[int],
    offset: int,
) -> torch.Tensor:
    """The tensor that a worker lent; what is older than its oldest memory is forgotten here too."""
    blocks = _blocks.get(worker, {})
    for stale in [old for old in blocks if old < oldest]:
        del blocks[stale]
    if storage is None:
        hold = Hold(blocks[number], _FREE)
    else:
        block = Block(storage)
        hold = Hold(block, _FREE if _keep(worker, number, block) else _SPENT)
    return hold.tensor().view(dtype).as_strided(shape, stride, offset)


def _keep(worker: int, number: int, block: Block) -> bool:
    """Remember a block as long as there is its worker; False if this is not its parent."""
    if worker not in _blocks:
        process = next((child for child in active_children() if child.pid == worker), None)
        if process is None:
            return False
        _blocks[worker] = {}
        weakref.finalize(process, functools.partial(_blocks.pop, worker, None)).atexit = False
    _blocks[worker][number] = block
    return True


def _forget_in_child() -> None:
    # Neither what this process lent to its parent, nor what it borrowed from its children.
    global _fence
    _fence = threading.RLock()
    _slots.clear()
    _blocks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
