"""Files that are compressed as a whole: which codec it is, seen from the first bytes.

gzip, bzip2, xz and Zstandard are read alike: front to back in bounded memory, several members one
after another, every checksum compared, and no more decoded than the header promises.
"""

from __future__ import annotations

import lzma
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from voxarray.core import portable
from voxarray.core.errors import UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.gzip_stream import MAGIC as GZIP_MAGIC
from voxarray.formats._voxels.gzip_stream import GzipFeed
from voxarray.formats._voxels.stream_decoders import (
    WORKING_BYTES,
    ByteFeed,
    Bzipped,
    Deflated,
    IncrementalFeed,
    RestartingIndex,
    StreamDecoder,
)
from voxarray.storage.file_identity import FileIdentity

XZ_RATIO = 8_000
"""Most bytes that LZMA makes of one: a match of 273 bytes takes at least 0.3 bits."""

ZSTD_RATIO = 33_000
"""Most bytes that Zstandard makes of one: a block of 128 KiB takes at least four (RFC 8878)."""

_XZ_MEMORY = 80 << 20
"""What an xz decoder may use; ``xz -9`` needs 65 MiB."""

_WINDOW_LOG = 27
"""Of the largest window of Zstandard: 128 MiB, as its own program has it."""

_MAGIC_BYTES = 18
_BZIP2 = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")  # of a block, of the end
_XZ = b"\xfd7zXZ\x00"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPED = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f: a frame of something else

_PEEK = 16 << 10
_GZIP_WBITS = 31


@dataclass(frozen=True, slots=True)
class Xz:
    """xz from the start to the end of the file."""

    ratio: ClassVar[int] = XZ_RATIO
    working_bytes: ClassVar[int] = WORKING_BYTES + _XZ_MEMORY

    trailer: int | None = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(available, self.ratio)

    def feed(self, fd: int) -> IncrementalFeed:
        return IncrementalFeed(fd, 0, _xz_stream)

    def index(self, fd: int, bounds: Sequence[int]) -> RestartingIndex:
        return RestartingIndex.build(fd, bounds, self)


@dataclass(frozen=True, slots=True)
class Zstandard:
    """Zstandard (RFC 8878) from the start to the end of the file."""

    ratio: ClassVar[int] = ZSTD_RATIO
    working_bytes: ClassVar[int] = WORKING_BYTES + (1 << _WINDOW_LOG)

    trailer: int | None = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(available, self.ratio)

    def feed(self, fd: int) -> IncrementalFeed:
        return IncrementalFeed(fd, 0, _zstd_stream)

    def index(self, fd: int, bounds: Sequence[int]) -> RestartingIndex:
        return RestartingIndex.build(fd, bounds, self)


def decoder_of(start: bytes, trailer: int | None = 0) -> StreamDecoder | None:
    """The decoder for a file that begins so; None if it is not compressed.

    Args:
        start: At least `_MAGIC_BYTES` bytes, where the file has as many.
        trailer: Most bytes that may follow the voxels; None for any number.
    """
    if start.startswith(GZIP_MAGIC):
        return Deflated(trailer=trailer)
    if start[:3] == b"BZh" and start[3:4].isdigit() and start[4:10] in _BZIP2:
        return Bzipped(trailer=trailer)
    if start.startswith(_XZ):
        return Xz(trailer)
    skipped = start[1:4] == _ZSTD_SKIPPED and 0x50 <= start[0] <= 0x5F
    return Zstandard(trailer) if start.startswith(_ZSTD) or skipped else None


def beginning(
    identity: FileIdentity, count: int, trailer: int | None = 0
) -> tuple[bytes, StreamDecoder | None]:
    """The first decoded bytes of a file, and how it is compressed; fewer where it ends.

    Args:
        identity: The file.
        count: Bytes.
        trailer: As in `decoder_of`.

    Raises:
        TruncatedError, ChecksumError: It is damaged or cut short before so many bytes.
    """
    fd = identity.open()
    try:
        start = portable.pread(fd, max(count, _MAGIC_BYTES), 0)
        decoder = decoder_of(start, trailer)
        if decoder is None:
            return start[:count], None
        gzipped = isinstance(decoder, Deflated)
        if gzipped and (header := _header_of(start, count)):
            return header, decoder
        # Little is read ahead for a header.
        feed: ByteFeed = GzipFeed(fd, buffer=_PEEK) if gzipped else decoder.feed(fd)
        out = bytearray(count)
        return bytes(out[: feed.read_some(memoryview(out))]), decoder
    finally:
        os.close(fd)


def _header_of(start: bytes, count: int) -> bytes | None:
    """What the start of a gzip file decodes to; None if that is less, or wrong: others say why."""
    try:
        header = zlib.decompressobj(_GZIP_WBITS).decompress(start, count)
    except zlib.error:
        return None
    return header if len(header) == count else None


def named_so(
    path: str, suffix: str, identity: FileIdentity, trailer: int | None = 0
) -> StreamDecoder | None:
    """The decoder of a file of voxels alone, which may begin with any bytes: its name must say so.

    Args:
        path: Of the file.
        suffix: Of its name when it is not compressed, such as ``".img"``.
        identity: The file.
        trailer: As in `decoder_of`.
    """
    if path.lower().endswith(suffix):
        return None
    fd = identity.open()
    try:
        return decoder_of(portable.pread(fd, _MAGIC_BYTES, 0), trailer)
    finally:
        os.close(fd)


class _Stream:
    """One compressed stream; errors of its library are named.

    Args:
        engine: What decodes it.
        error: What that raises.
    """

    def __init__(self, engine: Any, error: type[Exception]) -> None:
        self._engine, self._error = engine, error

    @property
    def eof(self) -> bool:
        return bool(self._engine.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._engine.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._engine.unused_data)

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        try:
            return bytes(self._engine.decompress(data, max_length))
        except self._error as error:
            message = str(error).lower()
            if "memory" in message or "window" in message:
                raise UnsupportedError(
                    f"the file was compressed with a dictionary or window that needs more memory "
                    f"than is allowed ({error}): compress it again with less, such as xz -9 or "
                    "zstd --long=27",
                    code="LARGE_WINDOW",
                ) from None
            raise ValueError(str(error)) from None


def _xz_stream() -> _Stream:
    engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return _Stream(engine, lzma.LZMAError)


def _zstd_stream() -> _Stream:
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return _Stream(zstd.ZstdDecompressor(options=options), zstd.ZstdError)


def _zstd() -> Any:
    """The module of the standard library, or its backport."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return import_optional(name, "backports.zstd")
