"""A store of ours as zarr-python wants it: read-only, asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
)
from zarr.core.buffer import Buffer, BufferPrototype

from voxarray.core.errors import MissingDataError, UnsupportedError
from voxarray.formats.zarr.change_detection import ChunkFingerprints
from voxarray.storage.store import Store as Files


class ReadOnlyStore(Store):  # type: ignore[misc]  # zarr is not followed by mypy
    """Files of any store of ours, for zarr-python.

    What is absent is None, as Zarr has it; every other failure is an error.

    Args:
        files: What is read.
        witness: Is told of everything that is read.
    """

    def __init__(self, files: Files, witness: ChunkFingerprints) -> None:
        super().__init__(read_only=True)
        self.files = files
        self.witness = witness

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadOnlyStore) and self.files == other.files

    __hash__ = None  # type: ignore[assignment]  # as zarr's own stores

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    @property
    def supports_listing(self) -> bool:
        return False

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        data = await asyncio.to_thread(_read, self.files, self.witness, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        tasks = (self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        return list(await asyncio.gather(*tasks))

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self.files.__contains__, key)

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002
        raise _read_only(self.files)

    async def delete(self, key: str) -> None:  # noqa: ARG002
        raise _read_only(self.files)

    def list(self) -> AsyncIterator[str]:
        raise _read_only(self.files)

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        raise _read_only(self.files)

    def list_dir(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        raise _read_only(self.files)


def _read(files: Files, witness: ChunkFingerprints, key: str, request: Any) -> bytes | None:
    try:
        if request is None:
            data, identity = files.fetch(key)
            witness.require_same(key, identity)
            return data
        blob = files.open(key)
    except MissingDataError:
        witness.require_same(key, None)
        return None
    with blob:
        witness.require_same(key, blob.identity)
        if isinstance(request, RangeByteRequest):
            return blob.read(request.start, request.end - request.start)
        if isinstance(request, OffsetByteRequest):
            return blob.read(request.offset, max(0, blob.size - request.offset))
        count = min(blob.size, request.suffix)
        return blob.read(blob.size - count, count)


def _read_only(files: Files) -> UnsupportedError:
    return UnsupportedError(
        f"{files.path} can only be read here, not listed or written: open it with zarr.open for "
        "that",
        code="READ_ONLY",
        path=files.path,
    )
