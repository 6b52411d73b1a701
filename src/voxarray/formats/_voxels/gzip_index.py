"""Entry points into a gzip file, so that a part can be decoded without what stands before it.

Deflate can only be decoded from a point where the decoder's state (the last 32 KiB of output, the
Huffman tables, a few bits) is known. ``zlib`` can copy that state; copies taken at the starts of
parts, on one pass through the whole file, are the index. It lives in memory, never beside the file.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from voxarray.core import portable
from voxarray.core.errors import ChecksumError, TruncatedError
from voxarray.formats._voxels.gzip_stream import bomb, named_errors

_INPUT = 16 << 10  # what is left of it is kept with every entry point
_OUTPUT = 256 << 10
_STATE_BYTES = 48 << 10  # zlib's inflate state with its window

_GZIP = 31  # wbits: gzip header and trailer, largest window


@dataclass(slots=True)
class Inflater:
    """A decoder of a gzip file that can be copied wherever it stands.

    Attributes:
        position: Bytes of the file that were read.
        rest: Those of them that are not yet decoded.
        engine: State within a gzip member, None between members.
        is_begun: Whether the first member has begun.
        wbits: 31 for gzip, 15 for a zlib stream (RFC 1950), after which nothing is read.
    """

    position: int = 0
    rest: bytes = b""
    engine: Any = None
    wbits: int = _GZIP
    is_begun: bool = False

    def copy(self) -> Inflater:
        """An independent decoder at the same place."""
        # zlib can copy its state, which ISA-L, the faster of the two, cannot.
        engine = None if self.engine is None else self.engine.copy()
        return Inflater(self.position, self.rest, engine, self.wbits, self.is_begun)

    def read(self, fd: int, count: int) -> bytes:
        """Decode up to ``count`` bytes; none only at the end of the file.

        Raises:
            TruncatedError, ChecksumError, FormatError: As `GzipFeed.read_some`.
        """
        with named_errors():
            while self.engine is not None or self._begin_member(fd):
                compressed = self.rest or self._take(fd)
                data: bytes = self.engine.decompress(compressed, count)
                self.rest = self.engine.unconsumed_tail
                if self.engine.eof:  # the trailer was right, or zlib would have said so
                    self.rest, self.engine = self.engine.unused_data, None
                elif not compressed and not data:
                    raise EOFError
                if data:
                    return data
        return b""

    def _take(self, fd: int) -> bytes:
        data = portable.pread(fd, _INPUT, self.position)
        self.position += len(data)
        return data

    def _begin_member(self, fd: int) -> bool:
        """Go to the next member, over zeros that pad the file; False at its end."""
        if self.wbits != _GZIP and self.is_begun:
            return False
        self.rest = self.rest.lstrip(b"\0")
        while self.is_begun and not self.rest:
            padded = self._take(fd)
            if not padded:
                return False
            self.rest = padded.lstrip(b"\0")
        self.engine, self.is_begun = zlib.decompressobj(self.wbits), True
        return True


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """Where a part starts.

    Attributes:
        decoder: Stands at the first byte of the part; copied, never moved.
        crc: CRC-32 of the decoded part.
    """

    decoder: Inflater
    crc: int


@dataclass(frozen=True, slots=True)
class SeekIndex:
    """Entry points of all parts of a gzip file.

    Attributes:
        bounds: Positions among the decoded bytes at which parts start, and the end of the last.
        points: One per part.
    """

    bounds: tuple[int, ...]
    points: tuple[EntryPoint, ...]

    @classmethod
    def build(
        cls,
        fd: int,
        bounds: Sequence[int],
        decoder: Inflater | None = None,
        most: int | None = None,
    ) -> SeekIndex:
        """Decode the whole file once, check it, and note where parts start.

        Args:
            fd: Descriptor of the file.
            bounds: As the attribute.
            decoder: At the start of the stream; None for gzip from the file's first byte.
            most: Bytes that may follow the last part; None for any number.

        Raises:
            FormatError: More bytes follow (``BOMB``).
            TruncatedError, ChecksumError, FormatError: As `GzipFeed.read_some`.
        """
        decoder = decoder or Inflater()
        for _ in _pieces(decoder, fd, bounds[0]):
            pass
        points = []
        for start, stop in itertools.pairwise(bounds):
            # Before the part: it is decoded from this state alone, whenever it is wanted.
            entry = decoder.copy()
            crc = 0
            for data in _pieces(decoder, fd, stop - start):
                crc = isal_zlib.crc32(data, crc)
            points.append(EntryPoint(entry, crc))
        # To the end: the CRC of the stream is behind its last byte.
        remaining = 0
        while data := decoder.read(fd, _OUTPUT):
            remaining += len(data)
            if most is not None and remaining > most:
                raise bomb(bounds[-1] - bounds[0])
        return cls(tuple(bounds), tuple(points))

    @property
    def nbytes(self) -> int:
        """Memory that the entry points hold, as an estimate."""
        return len(self.points) * (_STATE_BYTES + _INPUT)

    def read(self, fd: int, number: int, view: memoryview) -> None:
        """Fill ``view`` with part ``number``.

        Raises:
            ChecksumError: The bytes are not those of the first pass (``BAD_CRC``).
        """
        entry = self.points[number]
        done = 0
        for data in _pieces(entry.decoder.copy(), fd, len(view)):
            view[done : done + len(data)] = data
            done += len(data)
        if isal_zlib.crc32(view) != entry.crc:
            raise ChecksumError(
                "a part of the file now decodes to other bytes than when it was first read: the "
                "disk or the memory may be faulty; read the file again",
                code="BAD_CRC",
            )


def _pieces(decoder: Inflater, fd: int, count: int) -> Iterator[bytes]:
    """The next ``count`` decoded bytes, in pieces.

    Raises:
        TruncatedError: There are fewer; and as `Inflater.read`.
    """
    missing = count
    while missing:
        data = decoder.read(fd, min(missing, _OUTPUT))
        if not data:
            raise TruncatedError(
                f"expected {count} more bytes when decompressed, got {count - missing}: the file "
                "was compressed without an error, but from a file that was too short; compress "
                "the whole file again"
            )
        missing -= len(data)
        yield data
