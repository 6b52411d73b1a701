"""A graphics card that is not there, and as late as a card may be.

Tensors claim to be on ``cuda:0``. What is asked of them is queued, and done when somebody waits: a
copy from page-locked memory takes what is in it *then*, and one to such memory has not happened
until then. Whoever forgets to wait sees other numbers, each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

CARD = torch.device("cuda", 0)


class OnCard(torch.Tensor):
    """A tensor on the card; its numbers are those of ``held`` once the queue was worked off."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=CARD
        )
        made.held = held
        return made

    def __init__(self, held: torch.Tensor) -> None:
        pass

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the fake card's thread")


class Event:
    """The end of what was queued when it was recorded."""

    def __init__(self, card: FakeCard, end: int) -> None:
        self._card, self._end = card, end

    def synchronize(self) -> None:
        self._card.work_off(self._end)


class Stream:
    """The one stream."""

    def __init__(self, card: FakeCard, device: Any) -> None:
        assert torch.device(device) == CARD, "another thread's current device may be another"
        self._card = card

    def record_event(self) -> Event:
        return Event(self._card, self._card.queued)


class FakeCard(TorchDispatchMode):
    """What is done with tensors of one thread, as a card does it.

    Attributes:
        queued: Works that were queued so far.
        pinned: Bytes of each page-locked memory that was asked for.
        lockable: Bytes that may be page-locked at once.
        fails: Raised by the work of this number, and by all after it.
        most_behind: The most works that were waiting at once.
        copies: How many were queued, and not waited for, from RAM and to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queued = self._done = self.most_behind = 0
        self.pinned: list[int] = []
        self.lockable = float("inf")
        self.fails: tuple[int, Exception] | None = None
        self.copies = [0, 0]
        self._works: list[Callable[[], None]] = []
        self._locked: list[tuple[int, int]] = []
        self._turn = threading.RLock()

    # --- The queue --------------------------------------------------------------------------------

    def queue(self, work: Callable[[], None]) -> None:
        with self._turn:
            self._works.append(work)
            self.queued += 1
            self.most_behind = max(self.most_behind, self.queued - self._done)

    def work_off(self, end: int | None = None) -> None:
        with self._turn, _disable_current_modes(), torch.inference_mode():
            while self._done < (self.queued if end is None else end):
                if self.fails is not None and self._done >= self.fails[0]:
                    raise self.fails[1]
                self._works[self._done]()
                self._works[self._done] = _nothing
                self._done += 1

    def forget(self) -> None:
        """Begin anew, as another process would."""
        with self._turn:
            self._works.clear()
            self.queued = self._done = 0
            self.fails = None

    # --- Memory -----------------------------------------------------------------------------------

    def empty(self, *size: Any, pin_memory: bool = False, **more: Any) -> torch.Tensor:
        made = _EMPTY(*size, **more)
        if pin_memory:
            if made.nbytes > self.lockable:
                raise RuntimeError("CUDA error: out of memory")
            self.pinned.append(made.nbytes)
            self._locked.append((made.data_ptr(), made.data_ptr() + made.nbytes))
        return made

    def is_locked(self, memory: torch.Tensor) -> bool:
        return any(first <= memory.data_ptr() < stop for first, stop in self._locked)

    # --- What torch asks --------------------------------------------------------------------------

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here: to skip that, torch would load what compiles

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name
        if name == "aten::to":  # in inference mode, what is made of others comes as one
            with self:
                return func.decompose(*args, **kwargs)
        if name == "aten::_to_copy" and torch.device(kwargs.get("device") or CARD) != CARD:
            self.work_off()
            return func(args[0].held if isinstance(args[0], OnCard) else args[0], **kwargs)
        if name == "aten::_to_copy" and not isinstance(args[0], OnCard):
            return self._sent(func, args[0], kwargs)
        if name == "aten::copy_" and not isinstance(args[0], OnCard):
            if not isinstance(args[1], OnCard):
                return func(*args, **kwargs)
            return self._brought(*args, **kwargs)
        if name == "aten::_local_scalar_dense" and isinstance(args[0], OnCard):
            self.work_off()
        if name == "aten::copy_" and not isinstance(args[1], OnCard):
            args = (
                args[0],
                self._sent(None, args[1], {"non_blocking": (*args, False)[2]}),
                *args[2:],
            )
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted).type == "cuda":
            kwargs["device"] = torch.device("cpu")
        elif not any(isinstance(one, OnCard) for one in _flat((args, kwargs))):
            return func(*args, **kwargs)
        return self._queued(func, args, kwargs)

    def _sent(self, func: Any, source: torch.Tensor, kwargs: dict[str, Any]) -> OnCard:
        late = bool(kwargs.pop("non_blocking", False)) and self.is_locked(source)
        held = source.clone() if func is None else func(source, **{**kwargs, "device": "cpu"})
        held = held.clone() if held is source else held
        # A card that is late has nothing of it yet.
        held.zero_() if late else None
        if late:
            self.copies[0] += 1
            self.queue(lambda: _set(held, source))
        return OnCard(held)

    def _brought(self, out: torch.Tensor, source: OnCard, non_blocking: bool = False) -> Any:
        self.queue(lambda: _set(out, source.held))
        if non_blocking and self.is_locked(out):
            self.copies[1] += 1
        else:
            self.work_off()
        return out

    def _queued(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Once now, for shapes and views, and once more in its turn, for numbers."""
        bare = tree_map(_held, (args, kwargs))
        writes = func._schema.is_mutable
        if writes:
            assert isinstance(args[0], OnCard)
            self.queue(lambda: func(*bare[0], **bare[1]))
            return args[0]
        found = func(*bare[0], **bare[1])

        def work() -> None:
            again = func(*bare[0], **bare[1])
            for old, new in zip(_flat(found), _flat(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    _set(old, new)

        self.queue(work)
        return tree_map(lambda one: OnCard(one) if isinstance(one, torch.Tensor) else one, found)


_EMPTY = torch.empty


def _nothing() -> None:
    pass


def _set(out: torch.Tensor, source: torch.Tensor) -> None:
    out.copy_(source)


def _held(one: Any) -> Any:
    return one.held if isinstance(one, OnCard) else one


def _flat(tree: Any) -> list[Any]:
    """What is in tuples, lists and dictionaries; torch's own way takes ten times as long."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return [tree]
    return [leaf for one in tree for leaf in _flat(one)]


@contextmanager
def fake_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    """A card for what this thread does with torch."""
    card = FakeCard()
    monkeypatch.setattr(torch, "empty", card.empty)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: CARD.index)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(card, device))
    with card:
        yield card
