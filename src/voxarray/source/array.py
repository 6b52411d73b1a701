"""Voxels that are in memory, or that dask will compute."""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.promotion import cast
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, OriginalHeader, Source, digest
from voxarray.source.block_storing import computes_in_threads, store_blocks
from voxarray.source.graph_sources import sources_of
from voxarray.source.pieces import is_sequential
from voxarray.source.reductions import with_reductions_found


@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """A NumPy array (C, W, H, D) of any memory layout, in RAM.

    Attributes:
        array: The voxels; shared, not copied.
        affine: (4, 4) voxel index to RAS+ mm.
        origin: Header of the file that the voxels come from.
        label_table: Names and colours of labels.
    """

    in_memory: ClassVar[bool] = True

    array: NDArray
    affine: NDArray[np.float64]
    channels: Channels = Channels()
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    origin: OriginalHeader | None = None
    label_table: tuple[Any, ...] = ()

    @property
    def shape(self) -> Shape4:
        c, w, h, d = self.array.shape
        return c, w, h, d

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype.newbyteorder("=")

    @property
    def chunks(self) -> Shape4:
        return self.shape

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    def read(self, selection: Selection) -> NDArray:
        return self.array[selection.slices()].astype(self.dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy may be changed apart from this one, so it gets a name of its own.
        return with_new_name, (
            type(self),
            self.array,
            self.affine,
            self.channels,
            self.origin,
            self.label_table,
        )

    def token(self) -> str:
        # An array may be changed in place, so its content names nothing; the object does.
        return digest("array", self.name, self.affine)


def with_new_name(
    cls: Callable[..., Source],
    voxels: Any,
    affine: NDArray[np.float64],
    channels: Channels,
    origin: OriginalHeader | None,
    label_table: tuple[Any, ...],
) -> Source:
    """A copy of a source in memory, such as its pickle: with a name of its own."""
    return cls(voxels, affine, channels, origin=origin, label_table=label_table)


@dataclass(frozen=True, eq=False)
class DaskSource(Source):
    """A lazy dask array (C, W, H, D): each read computes the blocks that it touches.

    What the blocks take from all of the array, such as its mean, the first read finds for all.

    Attributes:
        array: The dask array.
        affine: (4, 4) voxel index to RAS+ mm.
        origin: Header of the file that the voxels come from.
        label_table: Names and colours of labels.
    """

    array: Any
    affine: NDArray[np.float64]
    channels: Channels = Channels()
    lazy: bool = True
    origin: OriginalHeader | None = None
    label_table: tuple[Any, ...] = ()

    @property
    def shape(self) -> Shape4:
        c, w, h, d = self.array.shape
        return c, w, h, d

    @property
    def dtype(self) -> np.dtype:
        native: np.dtype = np.dtype(self.array.dtype).newbyteorder("=")
        return native

    @property
    def chunks(self) -> Shape4:
        c, w, h, d = self.array.chunksize
        return c, w, h, d

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    @property
    def reading_bytes(self) -> int:
        """Blocks that threads compute at once: what each is computed from, between, and itself.

        One more of each thread is freed already, but not given back. Besides, what reading the
        files takes of which parts cannot be read alone.
        """
        block, total = (math.prod(sizes) for sizes in (self.chunks, self.shape))
        read = list(sources_of(self.array))
        itemsize = max(self.dtype.itemsize, *(source.dtype.itemsize for source in read), 0)
        streams = [source.reading_bytes for source in read if is_sequential(source)]
        blocks = min(settings.threads() * block, total)
        return 4 * blocks * itemsize + max(streams, default=0)

    def read(self, selection: Selection) -> NDArray:
        if not computes_in_threads(self.array):
            return self._computed(selection)
        result = selection.empty(self.dtype)
        self.read_into(selection, result)
        return result

    def read_into(self, selection: Selection, out: NDArray) -> None:
        if not computes_in_threads(self.array):
            cast(self._computed(selection), out)
            return
        store_blocks(self._of(selection), self.dtype, out)

    def _computed(self, selection: Selection) -> NDArray:
        return np.asarray(self._of(selection).compute()).astype(self.dtype, copy=False)

    def _of(self, selection: Selection) -> Any:
        is_all = selection == Selection.whole(self.shape)
        array = self.array if is_all else self._in_parts
        return array[selection.slices()]

    def token(self) -> str:
        return digest("dask", self.array.name, self.affine)

    @property
    def _in_parts(self) -> Any:
        """With reductions found once, however many threads ask for parts at the same time."""
        with _lock:
            own = _locks.setdefault(self, threading.Lock())
        with own:
            return self._ready

    @cached_property
    def _ready(self) -> Any:
        return with_reductions_found(self.array)


_lock = threading.Lock()
_locks: WeakKeyDictionary[DaskSource, threading.Lock] = WeakKeyDictionary()
"""Of arrays whose reductions are being found."""


def _forget_in_child() -> None:
    # The threads that held these are not in the child of a fork.
    global _lock
    _lock = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
