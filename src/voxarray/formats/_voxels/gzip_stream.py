"""Reading a gzip file front to back, as fast as it can be, and checking that it is whole."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isal import isal_zlib

from voxarray.core import portable
from voxarray.core.errors import ChecksumError, FormatError, TruncatedError

MAGIC = b"\x1f\x8b"

_BUFFER = 4 << 20  # each refill asks for the GIL, which costs as much as decoding 100 KiB
_PEEK = 16 << 10

# What ISA-L and zlib say of a wrong trailer, and where a member should begin and does not.
_CHECK_FAILED = ("CRC check failed", "Incorrect length", "incorrect data check", "length check")
_NO_MEMBER = ("Not a gzipped file", "incorrect header check")

_DECODER_ERRORS: tuple[type[Exception], ...] = (
    gzip.BadGzipFile,
    isal_zlib.IsalError,  # type: ignore[assignment]  # its stub takes the class for an instance
    zlib.error,
)


class GzipFeed:
    """The decoded bytes of a gzip file (RFC 1952, also of several members), each once.

    ISA-L decodes straight into the caller's memory. Its ``_GzipReader``, the engine of
    ``isal.igzip.open``, is the only door to that: all public ones make a copy, which costs a
    sixth of the time. It checks CRC-32 and length at the end of every member.

    Args:
        fd: Descriptor, open as long as this is used.
        start: Offset of the stream in the file.
        buffer: Compressed bytes that are read at a time.

    Attributes:
        position: Bytes decoded so far.
    """

    def __init__(self, fd: int, start: int = 0, buffer: int = _BUFFER) -> None:
        file = _Descriptor(fd, start)
        self._reader = isal_zlib._GzipReader(file, buffer)  # type: ignore[arg-type]  # it only calls readinto
        self.position = 0

    def read_some(self, view: memoryview) -> int:
        """Decode into ``view`` until it is full or the file ends; says how much it was.

        Raises:
            TruncatedError: The file ends within a member.
            ChecksumError: ``BAD_CRC``, or ``BAD_GZIP`` where the bytes cannot be decoded.
            FormatError: ``TRAILING_GARBAGE``.
        """
        done = 0
        with named_errors():
            while done < len(view):
                count = self._reader.readinto(view[done:])
                if count == 0:
                    break
                done += count
        self.position += done
        return done

    def read_exactly(self, view: memoryview) -> None:
        """Fill ``view``.

        Raises:
            TruncatedError: The file ends before; and as `read_some`.
        """
        start = self.position
        done = self.read_some(view)
        if done < len(view):
            raise TruncatedError(
                f"expected {start + len(view)} bytes when decompressed, got {start + done}: the "
                "file was compressed without an error, but from a file that was too short; "
                "compress the whole file again"
            )

    def skip(self, count: int) -> None:
        """Decode and drop ``count`` bytes."""
        scratch = memoryview(bytearray(min(count, _BUFFER)))
        while count:
            self.read_exactly(scratch[:count])
            count -= min(count, len(scratch))

    def finish(self) -> None:
        """Decode what is left, so that the last trailer is checked; errors as `read_some`."""
        # As a rule nothing is left: a large buffer would be cleared for nothing, with the GIL held.
        scratch = memoryview(bytearray(_PEEK))
        while self.read_some(scratch):
            pass


def beginning(fd: int, count: int) -> bytes:
    """The first ``count`` decoded bytes of a gzip file, or all if there are fewer."""
    start = bytearray(count)
    return bytes(start[: GzipFeed(fd, buffer=_PEEK).read_some(memoryview(start))])


def bomb(expected: int) -> FormatError:
    """The error of a file that decompresses to more than it may."""
    return FormatError(
        f"the file decompresses to more than the {expected} bytes that its header promises: the "
        "header is wrong, or the file was made to do harm; repair the header, or delete the file",
        code="BOMB",
    )


class _Descriptor(io.RawIOBase):
    """A file object that leaves its descriptor open, and the descriptor's own position alone."""

    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self._position = position

    def readinto(self, view: Any) -> int:  # mypy has no word for a writable buffer before 3.12
        count = portable.preadv(self._fd, [view], self._position)
        self._position += count
        return count


@contextmanager
def named_errors() -> Iterator[None]:
    """Give the errors of gzip decoders their names."""
    try:
        yield
    except TruncatedError:
        raise
    except EOFError:
        raise TruncatedError(
            "the gzip stream ends before its trailer, or a few bytes that are not gzip follow it: "
            "copy or download the file again"
        ) from None
    except _DECODER_ERRORS as error:
        raise _decoding_error(str(error)) from None


def _decoding_error(message: str) -> FormatError:
    if any(text in message for text in _CHECK_FAILED):
        return ChecksumError(
            f"the decoded bytes differ from the bytes that were compressed ({message}): the file "
            "is damaged, copy or download it again",
            code="BAD_CRC",
        )
    if any(text in message for text in _NO_MEMBER):
        return FormatError(
            f"bytes that are not gzip are in or after the gzip stream ({message}): remove them, "
            "or copy the file again",
            code="TRAILING_GARBAGE",
        )
    return ChecksumError(
        f"the compressed bytes are damaged and cannot be decoded ({message}): copy or download "
        "the file again",
        code="BAD_GZIP",
    )
