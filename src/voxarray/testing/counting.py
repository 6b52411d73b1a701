"""Prove laziness by counting reads and decoded bytes while a block of code runs."""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from voxarray import ops
from voxarray import source as sources
from voxarray.archive.source import ArchiveSource
from voxarray.formats._voxels.gzip_index import SeekIndex
from voxarray.formats._voxels.stream_decoders import VoxelFeed
from voxarray.formats.nifti.gzip_source import NiftiGzSource
from voxarray.source.base import Source, VoxelStream

Counted = Callable[["Reads", tuple[Any, ...], Any], None]


@dataclass
class Reads:
    """What was read in this process, by all its threads together.

    A read inside another read (a view of a file, a stream that reads slabs) is not counted again.
    For voxels that are computed from other sources (`voxarray.ops`), the reads of these sources are
    counted.

    Attributes:
        calls: Calls of `Source.read` and `Source.read_into`.
        streamed: Calls of `VoxelStream.read_into`.
        voxels: Voxels that these calls returned.
        passes: Decodings of a gzip stream from its beginning; opening a file does not count.
        decoded: Bytes that gzip decoders produced, those before the voxels included.
    """

    calls: int = 0
    streamed: int = 0
    voxels: int = 0
    passes: int = 0
    decoded: int = 0
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _inside: Any = field(default_factory=threading.local, repr=False)

    def add(self, **counts: int) -> None:
        """Add to the counts."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


@contextmanager
def count_reads() -> Iterator[Reads]:
    """Count reads of all sources while the block runs.

    Examples:
        >>> vx.testing.sample().save("t1.nii.gz")
        >>> with vx.testing.count_reads() as reads:
        ...     image = vx.ScalarImage("t1.nii.gz")[10:20]
        >>> reads.voxels
        0
    """
    reads = Reads()
    with ExitStack() as patches:
        for owner in _implementations(Source, "read"):
            patches.enter_context(_outermost(owner, "read", reads, _count_read))
        for owner in _implementations(Source, "read_into"):
            patches.enter_context(_outermost(owner, "read_into", reads, _count_read_into))
        for owner in _implementations(VoxelStream, "read_into"):
            patches.enter_context(_outermost(owner, "read_into", reads, _count_streamed))
        patches.enter_context(_outermost(ArchiveSource, "scan", reads, _count_scanned))
        patches.enter_context(_each(NiftiGzSource, "_feed", reads, _count_pass))
        patches.enter_context(_each(NiftiGzSource, "_feed_at_once", reads, _count_pass))
        patches.enter_context(_each(VoxelFeed, "_read", reads, _count_decoded))
        patches.enter_context(_each(SeekIndex, "read", reads, _count_part))
        patches.enter_context(_build_pass(reads))
        yield reads


def _count_read(reads: Reads, _arguments: tuple[Any, ...], result: Any) -> None:
    reads.add(calls=1, voxels=math.prod(result.shape))


def _count_scanned(reads: Reads, arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(calls=1, voxels=math.prod(arguments[0].shape))


def _count_read_into(reads: Reads, arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(calls=1, voxels=math.prod(arguments[1].shape))


def _count_streamed(reads: Reads, arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(streamed=1, voxels=math.prod(arguments[0].shape))


def _count_pass(reads: Reads, _arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(passes=1)


def _count_decoded(reads: Reads, arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(decoded=len(arguments[0]))


def _count_part(reads: Reads, arguments: tuple[Any, ...], _result: Any) -> None:
    reads.add(decoded=len(arguments[2]))


def _build_pass(reads: Reads) -> Any:
    """Count the pass on which a seek index is made; ``build`` is a class method."""
    build = SeekIndex.build

    def counted(fd: int, bounds: Any, *more: Any) -> SeekIndex:
        reads.add(passes=1, decoded=bounds[-1])
        return build(fd, bounds, *more)

    return mock.patch.object(SeekIndex, "build", staticmethod(counted))


def _each(owner: type, name: str, reads: Reads, count: Counted) -> Any:
    """Replace a method by one that counts every call."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def counted(self: Any, *arguments: Any) -> Any:
        result = original(self, *arguments)
        count(reads, arguments, result)
        return result

    return mock.patch.object(owner, name, counted)


def _outermost(owner: type, name: str, reads: Reads, count: Counted) -> Any:
    """Replace a method by one that counts calls that no other counted one makes."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def counted(self: Any, *arguments: Any) -> Any:
        if getattr(reads._inside, "flag", False) or _is_computed(self):
            return original(self, *arguments)
        reads._inside.flag = True
        try:
            result = original(self, *arguments)
        finally:
            reads._inside.flag = False
        count(reads, arguments, result)
        return result

    return mock.patch.object(owner, name, counted)


def _is_computed(reader: Any) -> bool:
    return bool(getattr(getattr(reader, "source", reader), "inputs", ()))


def _implementations(base: type, name: str) -> Iterator[type]:
    """Classes derived from ``base`` that define a method, those of every source module included."""
    for package in (sources, ops):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    pending = [base]
    while pending:
        derived: list[type] = pending.pop().__subclasses__()
        pending.extend(derived)
        yield from (owner for owner in derived if name in vars(owner))
