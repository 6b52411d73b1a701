"""Blocks of sources that are done with leave the cache: nobody reads a converted image again.

A worker of a cluster that keeps what it decoded is paused by dask, and then does nothing more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from voxarray.source.base import Source
from voxarray.source.block_cache import BLOCKS


@contextmanager
def dropped_afterwards(sources: Iterable[Source]) -> Iterator[None]:
    """After the body, drop the decoded blocks of all files that sources are read from."""
    try:
        yield
    finally:
        if BLOCKS.nbytes:  # not after small compressed files, which are decoded in one go
            files = {file for source in sources for file in _files(source)}
            BLOCKS.drop(lambda key: (key[0] if isinstance(key, tuple) else key) in files)


def _files(source: Any) -> Iterator[Hashable]:
    """What blocks are named by: the identity of a file, or a token, of all that is below."""
    identity = getattr(source, "identity", None)
    yield source.token() if identity is None else identity
    if not is_dataclass(source):
        return
    for field in fields(source):
        value = getattr(source, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Source):
                yield from _files(item)
            elif hasattr(item, "identity"):  # files that are no images of their own: of a series
                yield item.identity
