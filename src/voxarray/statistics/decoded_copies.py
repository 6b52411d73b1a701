"""Decoded copies of compressed files that operations would decode again and again.

An operation reads its files in parts, and a compressed stream has to be decoded from its start.
Small ones stay in the block cache. Larger ones are decoded once, onto the disk, where parts can
be read; the copies lie where those of remote files do, and go when they are no longer needed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from voxarray.core.dask_cluster import has_cluster
from voxarray.core.memory import cache_limit
from voxarray.nifti_header.fields import EXTENSION_FLAG_BYTES
from voxarray.ops.tree import is_computed, leaves, with_leaves
from voxarray.source.array import DaskSource
from voxarray.source.base import Source
from voxarray.source.graph_sources import sources_of, with_sources
from voxarray.source.pieces import is_sequential
from voxarray.source.slabs import SLAB_BYTES, Slabs
from voxarray.source.sliced import SlicedSource
from voxarray.source.view import HeaderOnlySource
from voxarray.storage.local_copies import Copies

IN_MEMORY_BYTES = 64 << 20
"""Decoded files up to this size stay in memory instead, if the block cache has room for them."""


@dataclass(frozen=True, eq=False)
class DecodedCopies:
    """A compressed source that is to be copied.

    Attributes:
        source: What is decoded.
    """

    source: Source

    @property
    def identity(self) -> Hashable:
        """Names the copy."""
        return self.source.token()

    @property
    def size(self) -> int:
        """Bytes of the copy."""
        return math.prod(self.source.shape) * self.source.dtype.itemsize

    @property
    def path(self) -> str:
        """The compressed file."""
        return self.source.path or "voxels"


class _Decoded(Copies):
    """Copies that are written by decoding: uncompressed NIfTI, which holds what any file held."""

    def _local_name(self, file: Any) -> str:  # noqa: ARG002
        return "decoded.nii"

    def _write(self, file: Any, path: str) -> None:
        from voxarray.formats._voxels.write_voxels import write_volumes
        from voxarray.formats.nifti.write import representation
        from voxarray.nifti_header.build import stored_dtype

        voxels, header = representation(file.source)
        with open(path, "xb") as out:
            out.write(header + bytes(EXTENSION_FLAG_BYTES))
            write_volumes(voxels, out, stored_dtype(voxels.dtype))


DECODED = _Decoded()
"""Copies that this process has made."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODED._forget_parent)


@contextmanager
def staged(source: Source, *, is_last: bool = False, in_parts: bool = False) -> Iterator[Source]:
    """The same voxels, computed from decoded copies where that saves decoding anew.

    Args:
        source: Given back as it is unless something is computed from compressed files.
        is_last: Whether the copies are not needed again afterwards.
        in_parts: Whether a file, too, is going to be read in parts instead of front to back.

    Raises:
        ArchiveError: The disk is full (``NO_SPACE``).
        UnsupportedError: A copy would exceed the setting ``download-cache`` (``TOO_LARGE``).
        VoxarrayError: What decoding finds wrong.
    """
    if not (in_parts or _is_computed(source)):
        yield source
        return
    stages = {leaf.token(): DecodedCopies(leaf) for leaf in _files(source) if _is_worth_it(leaf)}
    if not stages:
        yield source
        return
    try:
        with ExitStack() as stack:
            copies = {
                token: _opened(stack.enter_context(DECODED.held(stage)), stage.source)
                for token, stage in stages.items()
            }
            yield _with_files(source, lambda leaf: copies.get(leaf.token(), leaf))
    finally:
        if is_last:
            for stage in stages.values():
                DECODED.forget(stage)


def when_staged(source: Source, *, in_parts: bool = False) -> Source:
    """What `staged` will compute from, without its voxels: nothing is decoded for it.

    How much memory it needs can be told from it before.

    Args:
        source: As for `staged`.
        in_parts: As for `staged`.
    """
    if not (in_parts or _is_computed(source)):
        return source
    return _with_files(source, lambda leaf: _promised(leaf) if _is_worth_it(leaf) else leaf)


def _is_computed(source: Source) -> bool:
    """Whether it is more than a file; a dask array may be, unless a cluster reads for it.

    The workers of a cluster may be on machines where the copies are not.
    """
    base = SlicedSource.base_of(source)
    return is_computed(source) or (isinstance(base, DaskSource) and not has_cluster())


def _files(source: Source) -> Iterator[Source]:
    """The sources that are read in the end, those of dask arrays included."""
    for leaf in leaves(source):
        if isinstance(leaf, DaskSource) and not has_cluster():
            for read in sources_of(leaf.array):
                yield from _files(read)
        else:
            yield leaf


def _with_files(source: Source, change: Callable[[Source], Source]) -> Source:
    """As `with_leaves`, for all that `_files` finds."""

    def changed(leaf: Source) -> Source:
        if not isinstance(leaf, DaskSource) or has_cluster():
            return change(leaf)
        array = with_sources(leaf.array, lambda read: _with_files(read, change))
        return leaf if array is leaf.array else replace(leaf, array=array)

    if not any(change(leaf) is not leaf for leaf in _files(source)):
        return source  # and the keys of a graph stay those of the same objects
    return with_leaves(source, changed)


def _promised(leaf: Source) -> Source:
    """A copy that is not there yet, with the chunks that a NIfTI file has."""
    c, w, h, d = leaf.shape
    volumes, planes, height, width = Slabs.of((c, d, h, w), leaf.dtype.itemsize, SLAB_BYTES).largest
    return HeaderOnlySource.of(leaf, (volumes, width, height, planes))


def _is_worth_it(leaf: Source) -> bool:
    return is_sequential(leaf) and DecodedCopies(leaf).size > min(IN_MEMORY_BYTES, cache_limit())


def _opened(path: str, original: Source) -> Source:
    from voxarray.formats.registry import open_source

    copy = SlicedSource.of(open_source(path))
    # What the format rounds, or has no place for, is the original's.
    return replace(copy, affine=original.affine, history=original.history)
