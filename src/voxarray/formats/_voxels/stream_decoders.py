"""Compressed files as streams: decoded front to back, and read in parts by an index.

A codec is a `StreamDecoder`: it makes a feed of the decoded bytes, and an index of parts for
reading out of order. Formats (NRRD, MetaImage, MGH, NIfTI, ...) say where the stream begins and
what may follow the voxels, and read through `CompressedFile`, whatever the codec is.
"""

from __future__ import annotations

import bz2
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from isal import isal_zlib

from voxarray.core import portable
from voxarray.core.errors import ChecksumError, TruncatedError, VoxarrayError
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.gzip_index import Inflater, SeekIndex
from voxarray.formats._voxels.gzip_stream import MAGIC, GzipFeed, bomb

DEFLATE_RATIO = 1032
"""Most bytes that deflate makes of one: 258 per 2 bits."""

BZIP2_RATIO = 1_500_000
"""Most bytes that bzip2 makes of one: a block of 900,000 run lengths of 259, in some 40 bytes."""

WORKING_BYTES = 16 << 20
"""What decoding a stream holds besides its output: buffers of compressed and decoded bytes."""

_PIECE, _REST = 1 << 20, 1 << 16
_ZLIB = 15


class ByteFeed(Protocol):
    """Decoded bytes, each once."""

    def read_some(self, view: memoryview) -> int:
        """Decode into ``view`` until it is full or the stream ends; says how much it was."""


class ReopenedFeed(ByteFeed, Protocol):
    """A feed that can go on with another descriptor of the same file."""

    fd: int


class PartIndex(Protocol):
    """What is known of a file after one full pass, by which its parts can be read."""

    @property
    def bounds(self) -> tuple[int, ...]:
        """Positions among the decoded bytes at which parts start, and the end of the last."""

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""

    def read(self, fd: int, number: int, view: memoryview) -> None:
        """Fill ``view`` with part ``number``.

        Raises:
            ChecksumError: The bytes are not those of the first pass (``BAD_CRC``).
        """


class StreamDecoder(Protocol):
    """How a file is decompressed; a value that can be compared and pickled.

    Attributes:
        trailer: Most bytes that may follow the voxels; None for any number.
    """

    @property
    def trailer(self) -> int | None: ...

    @property
    def ratio(self) -> int:
        """Most bytes that the codec makes of one."""

    @property
    def working_bytes(self) -> int:
        """What decoding holds besides its output."""

    def check(self, stored: StoredVoxels, available: int) -> None:
        """Refuse what a file of ``available`` bytes cannot hold; nothing is allocated.

        Raises:
            FormatError: ``DIMS_EXCEED_FILE``.
        """

    def feed(self, fd: int) -> ByteFeed:
        """The decoded bytes, from the first one on."""

    def index(self, fd: int, bounds: Sequence[int]) -> PartIndex:
        """Decode all once, check it, and note how to read what lies between the bounds."""


class RestartingDecoder(Protocol):
    """What `RestartingIndex` needs of a codec whose decoder cannot be copied."""

    @property
    def trailer(self) -> int | None: ...

    def feed(self, fd: int) -> ReopenedFeed:
        """The decoded bytes, from the first one on."""


class VoxelFeed:
    """The bytes of the voxels of a compressed file, each once.

    Args:
        feed: All decoded bytes.
        stored: Where among them the voxels are.
        trailer: Most bytes that may follow; None for any number.
    """

    def __init__(self, feed: ByteFeed, stored: StoredVoxels, trailer: int | None) -> None:
        self._feed = feed
        self._stored = stored
        self._trailer = trailer
        self._done = -stored.offset

    def read_exactly(self, view: memoryview) -> None:
        """Fill ``view``.

        Raises:
            TruncatedError: The stream ends before.
        """
        self._skip()
        self._read(view)

    def finish(self) -> None:
        """Decode what is left, so that the last checksum is compared.

        Raises:
            FormatError: More follows than may (``BOMB``).
        """
        scratch, remaining = memoryview(bytearray(_REST)), 0  # small: as a rule nothing is left
        while count := self._feed.read_some(scratch):
            remaining += count
            if self._trailer is not None and remaining > self._trailer:
                raise bomb(self._stored.nbytes)

    def _skip(self) -> None:
        while self._done < 0:
            self._read(memoryview(bytearray(min(-self._done, _PIECE))))

    def _read(self, view: memoryview) -> None:
        count = self._feed.read_some(view)
        self._done += count
        if count < len(view):
            raise TruncatedError(
                f"expected {self._stored.nbytes} bytes when decompressed, got {max(0, self._done)}"
                ": the file was cut short, or compressed from a file that was too short, or its "
                "header is wrong; copy or compress the file again, or repair its header"
            )


@dataclass(frozen=True, slots=True)
class Deflated:
    """zlib (RFC 1950) or gzip (RFC 1952) from ``start`` to the end of the file.

    Which of them it is is seen from its first bytes: MetaImage allows both.

    Attributes:
        start: Where in the file the stream begins.
        trailer: Most bytes that may follow the voxels, such as the footer of MGZ.
    """

    ratio: ClassVar[int] = DEFLATE_RATIO
    working_bytes: ClassVar[int] = WORKING_BYTES

    start: int = 0
    trailer: int | None = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(max(0, available - self.start), self.ratio)

    def feed(self, fd: int) -> ByteFeed:
        if self._is_gzip(fd):
            return GzipFeed(fd, start=self.start)
        return _Inflating(fd, self._inflater(fd))

    def index(self, fd: int, bounds: Sequence[int]) -> SeekIndex:
        return SeekIndex.build(fd, bounds, self._inflater(fd), self.trailer)

    def _is_gzip(self, fd: int) -> bool:
        return portable.pread(fd, len(MAGIC), self.start) == MAGIC

    def _inflater(self, fd: int) -> Inflater:
        return Inflater(self.start) if self._is_gzip(fd) else Inflater(self.start, wbits=_ZLIB)


@dataclass(frozen=True, slots=True)
class Bzipped:
    """bzip2 from ``start`` to the end of the file."""

    ratio: ClassVar[int] = BZIP2_RATIO
    working_bytes: ClassVar[int] = WORKING_BYTES

    start: int = 0
    trailer: int | None = 0

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(max(0, available - self.start), self.ratio)

    def feed(self, fd: int) -> IncrementalFeed:
        return IncrementalFeed(fd, self.start, bz2.BZ2Decompressor)

    def index(self, fd: int, bounds: Sequence[int]) -> RestartingIndex:
        return RestartingIndex.build(fd, bounds, self)


class IncrementalDecoder(Protocol):
    """What `bz2.BZ2Decompressor` and `lzma.LZMADecompressor` have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class IncrementalFeed:
    """Decoded bytes of a file of one or several streams, a few at a time however small they were.

    Args:
        fd: Descriptor, open while this is used; another one may take its place.
        start: Where the first stream begins.
        make: Makes the decoder of a stream.
    """

    def __init__(self, fd: int, start: int, make: Callable[[], IncrementalDecoder]) -> None:
        self.fd = fd
        self._position = start
        self._make = make
        self._decoder = make()
        self._rest = b""

    def read_some(self, view: memoryview) -> int:
        """As `ByteFeed.read_some`.

        Raises:
            TruncatedError: The file ends within a stream.
            ChecksumError: It cannot be decoded (``BAD_CRC``).
        """
        done = 0
        while done < len(view):
            piece = self._next(min(len(view) - done, _PIECE))
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def _next(self, count: int) -> bytes:
        while not self._decoder.eof or self._begin_next():
            data = self._take() if self._decoder.needs_input else b""
            at_end = self._decoder.needs_input and not data
            try:
                piece = self._decoder.decompress(data, count)
            except VoxarrayError:  # some are ValueErrors, too
                raise
            except (OSError, EOFError, ValueError) as error:
                raise ChecksumError(
                    f"the compressed voxels are damaged ({error}): copy or download the file again",
                    code="BAD_CRC",
                ) from None
            if piece:
                return piece
            if at_end and not self._decoder.eof:
                raise TruncatedError(
                    "the compressed stream ends before its end mark: copy or download the file "
                    "again"
                )
        return b""

    def _take(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        data = portable.pread(self.fd, _PIECE, self._position)
        self._position += len(data)
        return data

    def _begin_next(self) -> bool:
        """Go to the next stream; False at the end of the file."""
        # Zeros may stand between streams and behind the last: xz pads with them, and so do tapes.
        self._rest = (self._decoder.unused_data or self._take()).lstrip(b"\0")
        if not self._rest:
            return False
        self._decoder = self._make()
        return True


@dataclass(frozen=True, slots=True)
class RestartingIndex:
    """Parts of a file whose decoder cannot be copied: each is decoded from the start of the file.

    Parts in ascending order are decoded in one pass, because the decoder stays where the last one
    ended.

    Attributes:
        bounds: As in `PartIndex`.
        crcs: CRC-32 of the decoded parts.
        decoder: Makes feeds.
    """

    bounds: tuple[int, ...]
    crcs: tuple[int, ...]
    decoder: RestartingDecoder
    # Stopped feeds, each taken out by who uses it, and put back: no lock, which a fork could copy
    # while it is held.
    _standing: list[tuple[int, ReopenedFeed]] = field(default_factory=list, compare=False)

    @classmethod
    def build(cls, fd: int, bounds: Sequence[int], decoder: RestartingDecoder) -> RestartingIndex:
        """Decode the whole file once, check it, and note the checksums of its parts.

        Raises:
            TruncatedError, ChecksumError: As `IncrementalFeed.read_some`.
            FormatError: More follows than may (``BOMB``).
        """
        feed = decoder.feed(fd)
        scratch = memoryview(bytearray(_PIECE))
        _passed(feed, bounds[0], scratch)
        crcs = [_passed(feed, stop - start, scratch) for start, stop in itertools.pairwise(bounds)]
        remaining = 0
        while count := feed.read_some(scratch):
            remaining += count
            if decoder.trailer is not None and remaining > decoder.trailer:
                raise bomb(bounds[-1] - bounds[0])
        return cls(tuple(bounds), tuple(crcs), decoder)

    @property
    def nbytes(self) -> int:
        """Memory that it holds: a decoder that waits."""
        return WORKING_BYTES

    def read(self, fd: int, number: int, view: memoryview) -> None:
        """As `PartIndex.read`."""
        start = self.bounds[number]
        try:
            position, feed = self._standing.pop()
        except IndexError:
            position, feed = 0, self.decoder.feed(fd)
        if position > start:
            position, feed = 0, self.decoder.feed(fd)
        feed.fd = fd  # the descriptor that it was made with is closed
        _passed(feed, start - position, memoryview(bytearray(_PIECE)))
        done = feed.read_some(view)
        if done < len(view) or isal_zlib.crc32(view) != self.crcs[number]:
            raise ChecksumError(
                "a part of the file now decodes to other bytes than when it was first read: the "
                "disk or the memory may be faulty; read the file again",
                code="BAD_CRC",
            )
        if not self._standing:
            self._standing.append((start + done, feed))


def _passed(feed: ByteFeed, count: int, scratch: memoryview) -> int:
    """CRC-32 of the next ``count`` bytes, which are dropped."""
    crc, missing = 0, count
    while missing:
        done = feed.read_some(scratch[: min(missing, len(scratch))])
        if not done:
            raise TruncatedError(
                f"expected {count} more bytes when decompressed, got {count - missing}: the file "
                "was cut short, or its header is wrong; copy it again, or repair the header"
            )
        crc = isal_zlib.crc32(scratch[:done], crc)
        missing -= done
    return crc


class _Inflating:
    """Decoded bytes of a zlib stream."""

    def __init__(self, fd: int, inflater: Inflater) -> None:
        self._fd = fd
        self._inflater = inflater

    def read_some(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            data = self._inflater.read(self._fd, min(len(view) - done, _PIECE))
            if not data:
                break
            view[done : done + len(data)] = data
            done += len(data)
        return done
