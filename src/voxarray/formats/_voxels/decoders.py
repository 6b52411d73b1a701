"""Decoders of voxels that are written as text, which believe no header: they check it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core import portable
from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats._voxels.file_array import StoredVoxels

_PIECE = 1 << 20

_LONGEST_NUMBER = 512  # characters


@dataclass(frozen=True, slots=True)
class Text:
    """Numbers written out, separated by white space."""

    start: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        count = stored.nbytes // stored.dtype.itemsize
        if 2 * count - 1 > available - self.start:
            raise FormatError(
                f"{stored.shape} voxels as text take at least {2 * count - 1} bytes, and the file "
                f"has {available} bytes: it was cut short, or its header is wrong; copy it again, "
                "or repair the header",
                code="DIMS_EXCEED_FILE",
            )

    def working_bytes(self, stored: StoredVoxels) -> int:  # noqa: ARG002
        return 64 * _PIECE  # the words of a piece, each an object of its own

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        block = np.empty(stored.nbytes // stored.dtype.itemsize, stored.native)
        done = 0
        for words in _words(fd, self.start):
            if done + len(words) > block.size:
                raise FormatError(
                    f"the file holds more numbers than the {block.size} that the header promises: "
                    "remove the extra numbers, or repair the header",
                    code="EXCESS_DATA",
                )
            block[done : done + len(words)] = _numbers(words, stored.native)
            done += len(words)
        if done < block.size:
            raise TruncatedError(
                f"expected {block.size} numbers, got {done}: the file ends too early; copy or "
                "download it again"
            )
        return block.reshape(stored.disk_shape)


@dataclass(frozen=True, slots=True)
class Hexadecimal:
    """Two hexadecimal digits for each byte, with white space anywhere between."""

    start: int = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        if 2 * stored.nbytes > available - self.start:
            raise FormatError(
                f"{stored.shape} voxels take {2 * stored.nbytes} digits, and the file has "
                f"{available} bytes: it was cut short, or its header is wrong; copy it again, or "
                "repair the header",
                code="DIMS_EXCEED_FILE",
            )

    def working_bytes(self, stored: StoredVoxels) -> int:
        return 6 * stored.nbytes  # all digits, twice, and as bytes

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:  # noqa: ARG002
        try:
            data = bytes.fromhex(b"".join(_file_pieces(fd, self.start)).decode("ascii"))
        except ValueError as error:
            raise FormatError(
                f"voxels are not hexadecimal: {error}; the file is damaged: copy or download it "
                "again",
                code="BAD_DATA",
            ) from None
        if len(data) < stored.nbytes:
            raise TruncatedError(
                f"expected {stored.nbytes} bytes in hexadecimal, got {len(data)}: copy or "
                "download the file again"
            )
        voxels = np.frombuffer(data, stored.dtype, stored.nbytes // stored.dtype.itemsize)
        return voxels.astype(stored.native).reshape(stored.disk_shape)


def _words(fd: int, start: int) -> Iterator[list[bytes]]:
    """Words of a text from a position on, some thousands at a time."""
    rest = b""
    for block in _file_pieces(fd, start):
        *words, rest = re.split(rb"\s+", rest + block)
        if len(rest) > _LONGEST_NUMBER:
            raise FormatError(
                "the header says that voxels are written as text, but they are not: repair the "
                "header",
                code="BAD_DATA",
            )
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
            f"voxels written as text are not {dtype.name} numbers: {error}; repair the header, or "
            "copy the file again",
            code="BAD_DATA",
        ) from None
