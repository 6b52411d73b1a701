"""Decoders of compressed voxels, which believe no header: they stop where it says, and check it."""

from __future__ import annotations

import bz2
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.core import portable
from voxarray.core.errors import ChecksumError, FormatError, TruncatedError
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.gzip_stream import MAGIC, GzipFeed
from voxarray.storage.raw_voxels import as_bytes, make_native

DEFLATE_RATIO = 1032
"""Most bytes that deflate makes of one: 258 per 2 bits."""

BZIP2_RATIO = 1_500_000
"""Most bytes that bzip2 makes of one: a block of 900,000 run lengths of 259, in some 40 bytes."""

_PIECE = 1 << 20

_LONGEST_NUMBER = 512  # characters


class _Incremental(Protocol):
    """What `zlib.decompressobj` and `bz2.BZ2Decompressor` have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Deflated:
    """zlib (RFC 1950) or gzip (RFC 1952) from ``start`` to the end of the file.

    Which of them it is is seen from its first bytes: MetaImage allows both.

    Attributes:
        start: Where in the file the stream begins.
        trailer: Most bytes that may follow the voxels, such as the footer of MGZ.
    """

    ratio: ClassVar[int] = DEFLATE_RATIO

    start: int = 0
    trailer: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(max(0, available - self.start), self.ratio)

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        block = np.empty(stored.disk_shape, stored.native)
        if portable.pread(fd, len(MAGIC), self.start) == MAGIC:
            _gunzip(fd, self.start, as_bytes(block), stored.offset, self.trailer)
        else:
            _inflate(fd, self.start, zlib.decompressobj(), as_bytes(block), stored.offset)
        make_native(block, stored.dtype)
        return block


@dataclass(frozen=True, slots=True)
class Bzipped:
    """bzip2 from ``start`` to the end of the file."""

    ratio: ClassVar[int] = BZIP2_RATIO

    start: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(max(0, available - self.start), self.ratio)

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        block = np.empty(stored.disk_shape, stored.native)
        _inflate(fd, self.start, bz2.BZ2Decompressor(), as_bytes(block), stored.offset)
        make_native(block, stored.dtype)
        return block


@dataclass(frozen=True, slots=True)
class Text:
    """Numbers written out, separated by white space."""

    start: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        count = stored.nbytes // stored.dtype.itemsize
        if 2 * count - 1 > available - self.start:
            raise FormatError(
                f"{stored.shape} voxels as text take at least {2 * count - 1} bytes, and the file "
                f"has {available}: it was cut short, or its header is wrong",
                code="DIMS_EXCEED_FILE",
            )

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        block = np.empty(stored.nbytes // stored.dtype.itemsize, stored.native)
        done = 0
        for words in _words(fd, self.start):
            if done + len(words) > block.size:
                raise FormatError(
                    f"there are more numbers than the {block.size} that the header promises",
                    code="EXCESS_DATA",
                )
            block[done : done + len(words)] = _numbers(words, stored.native)
            done += len(words)
        if done < block.size:
            raise TruncatedError(f"expected {block.size} numbers, got {done}: the file ends there")
        return block.reshape(stored.disk_shape)


@dataclass(frozen=True, slots=True)
class Hexadecimal:
    """Two hexadecimal digits for each byte, with white space anywhere between."""

    start: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        if 2 * stored.nbytes > available - self.start:
            raise FormatError(
                f"{stored.shape} voxels take {2 * stored.nbytes} digits, and the file has "
                f"{available} bytes: it was cut short, or its header is wrong",
                code="DIMS_EXCEED_FILE",
            )

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        try:
            data = bytes.fromhex(b"".join(_file_pieces(fd, self.start)).decode("ascii"))
        except ValueError as error:
            raise FormatError(f"voxels are not hexadecimal: {error}", code="BAD_DATA") from None
        if len(data) < stored.nbytes:
            raise TruncatedError(f"expected {stored.nbytes} bytes in hexadecimal, got {len(data)}")
        voxels = np.frombuffer(data, stored.dtype, stored.nbytes // stored.dtype.itemsize)
        return voxels.astype(stored.native).reshape(stored.disk_shape)


def _gunzip(fd: int, start: int, view: memoryview, skip: int, trailer: int) -> None:
    feed = GzipFeed(fd, start=start)
    feed.skip(skip)
    feed.read_exactly(view)
    if feed.read_some(memoryview(bytearray(trailer + 1))) > trailer:
        raise _bomb(len(view))


def _inflate(fd: int, start: int, decoder: _Incremental, view: memoryview, skip: int) -> None:
    done = -skip
    for piece in _pieces(fd, start, decoder):
        part, begin = piece[max(0, -done) :], max(0, done)
        if begin + len(part) > len(view):
            raise _bomb(len(view))
        view[begin : begin + len(part)] = part
        done += len(piece)
    if done < len(view) or not decoder.eof:
        raise TruncatedError(
            f"expected {len(view)} bytes when decompressed, got {max(0, done)}: the file was cut "
            "short, or its header is wrong"
        )


def _pieces(fd: int, position: int, decoder: _Incremental) -> Iterator[bytes]:
    """Decoded bytes, a few at a time however well they were compressed; ends with the file."""
    data = b""
    while not decoder.eof:
        try:
            piece = decoder.decompress(data, _PIECE)
        except (zlib.error, OSError, EOFError) as error:
            raise ChecksumError(
                f"the compressed voxels are damaged ({error}): copy or download the file again",
                code="BAD_CRC",
            ) from None
        data = getattr(decoder, "unconsumed_tail", b"")  # bz2 keeps it to itself
        if piece:
            yield piece
        elif not data:
            data = portable.pread(fd, _PIECE, position)
            position += len(data)
            if not data:
                return


def _bomb(expected: int) -> FormatError:
    return FormatError(
        f"the file decompresses to more than the {expected} bytes that its header promises: the "
        "header is wrong, or the file was made to do harm",
        code="BOMB",
    )


def _words(fd: int, start: int) -> Iterator[list[bytes]]:
    """Words of a text from a position on, some thousands at a time."""
    rest = b""
    for piece in _file_pieces(fd, start):
        *words, rest = re.split(rb"\s+", rest + piece)
        if len(rest) > _LONGEST_NUMBER:
            raise FormatError("voxels should be text, and are not", code="BAD_DATA")
        yield [word for word in words if word]
    if rest:
        yield [rest]


def _file_pieces(fd: int, position: int) -> Iterator[bytes]:
    while data := portable.pread(fd, _PIECE, position):
        position += len(data)
        yield data


def _numbers(words: list[bytes], dtype: np.dtype) -> NDArray:
    try:
        if dtype.kind == "f":
            return np.array([float(word) for word in words], dtype)
        return np.array([int(word) for word in words], dtype)
    except (ValueError, OverflowError) as error:
        raise FormatError(
            f"voxels written as text are not {dtype.name} numbers: {error}", code="BAD_DATA"
        ) from None
