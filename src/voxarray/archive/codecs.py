"""How one chunk becomes bytes: blosc (or nothing), then crc32c over the result.

The set is small on purpose. Every one is a Zarr 3 codec chain that zarr-python, tensorstore
and zarrs read, and that the shard reader decodes with one call into the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.blosc_frame import BloscFrame, library
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import ChecksumError, FormatError, UnsupportedError

CRC_BYTES = 4
_RESIDUE = 0x48674BC7  # crc32c of anything that ends with its own crc32c (little-endian)
_SAMPLES = 64
_SPLIT = "lz4", "lz4hc"
"""With these, blosc splits a block into a stream for each byte of an item, and multiplies the size
that it is given by the item size.
"""
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


@dataclass(frozen=True, slots=True)
class Codec:
    """A chain of codecs for chunks: ``bytes``, perhaps ``blosc``, then ``crc32c``.

    Attributes:
        cname: Compressor inside blosc (``lz4``, ``lz4hc``, ``zstd``); empty for none.
        level: Effort of the compressor, 1 to 9.
        shuffle: ``noshuffle``, ``shuffle`` (bytes) or ``bitshuffle``.
        block: Bytes of a chunk that are compressed on their own, and can be read on their own; 0
            leaves the size to blosc, which takes larger blocks.
    """

    cname: str = "lz4"
    level: int = 5
    shuffle: str = "bitshuffle"
    block: int = 0

    def encode(self, chunk: NDArray) -> tuple[bytes, bytes]:
        """Bytes of a C-contiguous little-endian chunk, and their crc32c, which follows them.

        They are two parts, since joining them would copy the first.
        """
        body = self.body(chunk)
        return body, _crc_of(body)

    def encoded_size(self, chunk: NDArray) -> int:
        """How many bytes `encode` would make."""
        return len(self.body(chunk)) + CRC_BYTES

    def body(self, chunk: NDArray) -> bytes:
        """The first part of what `encode` makes."""
        if not self.cname:
            return chunk.tobytes()
        shuffle = _SHUFFLES[self.shuffle]
        itemsize = chunk.dtype.itemsize
        name = self.cname.encode()
        block = self._block_size(itemsize)
        voxels = _as_bytes(chunk)
        body: bytes = library().compress(voxels, name, self.level, shuffle, block, itemsize)
        return body

    def decode(
        self,
        encoded: NDArray[np.uint8],
        out: NDArray,
        begin: int = 0,
        end: int = -1,
        crc: int | None = None,
    ) -> None:
        """Decode into ``out``, a C-contiguous chunk; perhaps only what is needed of it.

        Args:
            encoded: What `encode` made; what it holds afterwards is of no use.
            out: The whole chunk; voxels that are not needed may stay what they were.
            begin: First byte of the chunk that is needed.
            end: The one after the last; -1 for all.
            crc: crc32c of this chunk, from the table of the shard; None to take the one at the end
                of the chunk (version 1).

        Raises:
            ChecksumError: If the bytes are not those that were written.
            FormatError: If they would decode to another size than the chunk's.
        """
        check(encoded, crc)
        body = encoded[:-CRC_BYTES].data
        if end < 0 or not self.cname:
            self.decode_body(body, out)
            return
        frame = BloscFrame.parse(body)
        require_size(frame.decoded, out.nbytes)
        frame.decode_part(_as_bytes(out), begin, end)

    def decode_body(self, body: bytes | memoryview, out: NDArray) -> None:
        """Decode the first part of what `encode` made, whose crc32c was checked or is not known.

        Raises:
            FormatError: If it would decode to another size than the chunk's.
        """
        if not self.cname:
            require_size(len(body), out.nbytes)
            _as_bytes(out)[:] = np.frombuffer(body, np.uint8)
            return
        frame = BloscFrame.parse(body)
        require_size(frame.decoded, out.nbytes)
        frame.decode(_as_bytes(out))

    def to_json(self, dtype: np.dtype) -> list[dict[str, Any]]:
        """The chain as Zarr 3 metadata (specification, section "codecs")."""
        chain: list[dict[str, Any]] = [{"name": "bytes"}]
        if dtype.itemsize > 1:
            chain[0]["configuration"] = {"endian": "little"}
        if self.cname:
            configuration = {
                "cname": self.cname,
                "clevel": self.level,
                "shuffle": self.shuffle,
                "typesize": dtype.itemsize,
                "blocksize": self._block_size(dtype.itemsize),
            }
            chain.append({"name": "blosc", "configuration": configuration})
        return [*chain, {"name": "crc32c"}]

    def _block_size(self, itemsize: int) -> int:
        return self.block // itemsize if self.cname in _SPLIT else self.block

    @classmethod
    def from_json(cls, chain: list[Mapping[str, Any]]) -> Codec:
        """The codec of a chain that `to_json` can write.

        Raises:
            UnsupportedError: For any other chain; code ``UNKNOWN_CODEC``.
        """
        names = [str(link.get("name")) for link in chain]
        if names not in (["bytes", "blosc", "crc32c"], ["bytes", "crc32c"]):
            raise UnsupportedError(
                f"the chunks have the codecs {names}, but voxarray writes chunks with bytes, blosc "
                f"and crc32c, or with bytes and crc32c: {MAKE_AGAIN}",
                code="UNKNOWN_CODEC",
            )
        if chain[0].get("configuration", {}).get("endian", "little") != "little":
            raise UnsupportedError(
                f"the chunks are big-endian, but voxarray writes little-endian ones: {MAKE_AGAIN}",
                code="UNKNOWN_CODEC",
            )
        if len(names) == 2:
            return RAW
        settings = chain[1]["configuration"]
        cname, block = str(settings["cname"]), int(settings.get("blocksize", 0))
        if cname in _SPLIT:
            block *= int(settings.get("typesize", 1))
        return cls(cname, int(settings["clevel"]), str(settings["shuffle"]), block)


RAW = Codec("", 0, "noshuffle")


def with_crc(body: bytes) -> bytes:
    """A small encoded chunk: both parts of what `Codec.encode` makes."""
    return body + _crc_of(body)


def _crc_of(body: bytes) -> bytes:
    crc: int = google_crc32c.value(body)
    return crc.to_bytes(CRC_BYTES, "little")


def check(encoded: NDArray[np.uint8], crc: int | None = None) -> None:
    """Raise `ChecksumError` unless a chunk is the one that was written.

    Args:
        encoded: Its bytes, of which the last four are the crc32c of those before.
        crc: The crc32c that it must have; None compares the chunk with its own last bytes only.
    """
    read_only = encoded if crc is None else encoded[:-CRC_BYTES]
    if read_only.flags.writeable:  # google_crc32c takes none that can change
        read_only = read_only.view()
        read_only.flags.writeable = False
    is_whole = google_crc32c.value(read_only) == (_RESIDUE if crc is None else crc)
    if not is_whole:
        raise ChecksumError(
            "the chunk does not have the crc32c that was written with it: the archive is damaged "
            f"here, or this chunk comes from another archive; restore the archive, or {MAKE_AGAIN}"
        )


def is_background(chunk: NDArray) -> bool:
    """Whether every bit of a dense chunk is zero: -0.0 equals zero and is not the same voxel."""
    bits = bits_of(chunk)
    # A few samples first: almost every chunk that is not background has a nonzero sample.
    # The largest is found in half the time of `any`, which makes truth values of all numbers.
    samples = bits[:: max(1, bits.size // _SAMPLES)]
    return not (np.count_nonzero(samples) or bits.max(initial=0))


def is_uniform(chunk: NDArray) -> bool:
    """Whether all voxels of a dense chunk are the same integer, or all bits of them zero."""
    voxels = chunk.reshape(-1)
    if chunk.dtype.kind not in "iu" or not voxels[0]:  # equal floats may have other bits
        return is_background(chunk)
    if voxels[0] != voxels[voxels.size // 2]:  # nothing is quicker, and most chunks end here
        return False
    step = max(1, voxels.size // _SAMPLES)
    return bool((voxels[::step] == voxels[0]).all() and (voxels == voxels[0]).all())


def bits_of(chunk: NDArray) -> NDArray:
    """The bytes of a dense chunk; as 64-bit numbers if their count is a multiple of 8."""
    raw = _as_bytes(chunk)
    return raw.view(np.uint64) if raw.size % 8 == 0 else raw


def _as_bytes(array: NDArray) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def require_size(decoded: int, expected: int) -> None:
    """Raise `FormatError` (``BAD_CHUNK_SIZE``) unless a chunk has as many bytes as it must."""
    if decoded != expected:
        raise FormatError(
            f"a chunk would decode to {decoded} bytes, but the layout says {expected}: the "
            f"archive is damaged here; restore it, or {MAKE_AGAIN}",
            code="BAD_CHUNK_SIZE",
        )
