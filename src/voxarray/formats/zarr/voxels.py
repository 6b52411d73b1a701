"""One array of a foreign Zarr store: checked before it is decoded, decoded by zarr-python."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.errors import (
    FormatError,
    MissingDataError,
    MissingFileError,
    SourceChangedError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.formats.zarr.change_detection import ChunkFingerprints, now_ns
from voxarray.formats.zarr.chunk_batches import Part, divided
from voxarray.formats.zarr.node import Node
from voxarray.storage.store import Store

# Codecs that only turn numbers into bytes and back. Others decode objects, or run what is
# installed under their name.
_CODECS = {
    "adler32",
    "bitround",
    "blosc",
    "bytes",
    "bz2",
    "crc32",
    "crc32c",
    "delta",
    "fixedscaleoffset",
    "fletcher32",
    "gzip",
    "jenkins_lookup3",
    "lz4",
    "lzma",
    "packbits",
    "pcodec",
    "quantize",
    "sharding_indexed",
    "shuffle",
    "transpose",
    "zfpy",
    "zlib",
    "zstd",
}


@dataclass(frozen=True, slots=True)
class ZarrVoxels:
    """An array, and what its metadata said when it was opened.

    Attributes:
        store: Where it lies.
        key: Its folder.
        documents: Files that describe it and its image, with their identities.
        shape: Sizes in the array's own order.
        chunks: Of what is decoded at once: chunks inside shards where there are shards.
        dtype: Native byte order.
        opened: When it was opened, ns: chunks that are younger are another image's.
    """

    store: Store
    key: str
    documents: tuple[tuple[str, Hashable], ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    opened: int = field(default=0, compare=False)

    @classmethod
    def of(cls, store: Store, node: Node, above: tuple[Node, ...] = ()) -> ZarrVoxels:
        """The array of a node.

        Args:
            store: Where it lies.
            node: Of an array.
            above: Groups whose metadata the image depends on, too.

        Raises:
            UnsupportedError: Codecs, chunks or a type that are not read (``UNKNOWN_CODEC``,
                ``CHUNK_GRID``, ``UNSUPPORTED_DTYPE``).
            FormatError: Its metadata are wrong (``BAD_METADATA``), it has no voxels
                (``BAD_DIMS``), or a chunk would take too much memory (``BOMB``).
        """
        _require_known(node.document, store)
        documents = tuple(doc for item in (node, *above) for doc in item.documents)
        opened = now_ns()
        array = _array(store, node.key, documents, opened)
        dtype = np.dtype(array.dtype)
        if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            raise UnsupportedError(
                f"{node.key} of {store.path} holds voxels of type {dtype}: expected numbers of at "
                "most 64 bits (complex numbers: 128 bits); convert the array first",
                code="UNSUPPORTED_DTYPE",
                path=store.path,
            )
        if 0 in array.shape:
            raise FormatError(
                f"{node.key} of {store.path} has the shape {array.shape}, so it has no voxels: "
                "give an array of at least one voxel along each axis",
                code="BAD_DIMS",
                path=store.path,
            )
        chunks = _chunks(array, store)
        if min(chunks, default=1) < 1:
            raise FormatError(
                f"{node.key} of {store.path} has chunks of {chunks}: expected at least one voxel "
                "along each axis; write the store again",
                code="BAD_METADATA",
                path=store.path,
            )
        native = dtype.newbyteorder("=")
        voxels = cls(store, node.key, documents, array.shape, chunks, native, opened)
        voxels.require_bounded()
        return voxels

    def require_bounded(self) -> None:
        """Refuse an array of which one chunk would take more memory than allowed (``BOMB``)."""
        size, limit = (
            math.prod(self.chunks) * self.dtype.itemsize,
            settings.get_bytes("chunk-limit"),
        )
        if size > limit:
            raise FormatError(
                f"one chunk {self.chunks} of {self.key} decodes to {size} bytes, but the setting "
                f"voxarray.chunk-limit allows {limit}: raise it if you trust the store",
                code="BOMB",
                path=self.store.path,
            )

    def read(self, ranges: Sequence[range]) -> NDArray:
        """Voxels at the product of one range per axis; steps may be negative.

        Chunks that are not there are the array's fill value: that is Zarr's rule.

        Raises:
            SourceChangedError: The metadata are not those that were opened, or a chunk is known to
                have changed since (`voxarray.formats.zarr.change_detection`).
            FormatError: A chunk cannot be decoded (``BAD_CHUNK``).
        """
        self.require_bounded()
        self._require_unchanged()
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        array = _array(self.store, self.key, self.documents, self.opened)
        with _zarr_errors(self.store, self.key):
            voxels = self._decoded(array, ascending)
        flips = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        return voxels.astype(self.dtype, copy=False)[flips]

    def _decoded(self, array: Any, ascending: Sequence[range]) -> NDArray:
        parts = divided(ascending, self.chunks)
        part = next(parts)
        voxels = _decoded_part(array, ascending, part)
        shape = tuple(map(len, ascending))
        if voxels.shape == shape:
            return voxels  # as nearly always: nothing is copied
        result = np.empty(shape, self.dtype)
        result[part] = voxels
        for part in parts:
            result[part] = _decoded_part(array, ascending, part)
        return result

    def _require_unchanged(self) -> None:
        for key, identity in self.documents:
            try:
                current = self.store.identity(key)
            except (MissingDataError, MissingFileError):
                current = None
            if current != identity:
                raise SourceChangedError(
                    f"{key} of {self.store.path} changed after it was opened: open it again",
                    path=self.store.path,
                )


def _decoded_part(array: Any, ascending: Sequence[range], part: Part) -> NDArray:
    ranges = [r[some] for r, some in zip(ascending, part, strict=True)]
    return np.asarray(array[tuple(slice(r.start, r[-1] + 1, r.step) for r in ranges)])


@lru_cache(maxsize=256)
def _array(store: Store, key: str, documents: tuple[tuple[str, Hashable], ...], opened: int) -> Any:
    """The opened array, with what was seen of its chunks; one for each time it is opened."""
    import zarr  # 0.2 s, and not needed for archives of ours

    from voxarray.formats.zarr.adapter import ReadOnlyStore

    files = ReadOnlyStore(store, ChunkFingerprints(store, opened))
    version = 3 if documents[0][0].endswith("zarr.json") else 2
    with _zarr_errors(store, key, "BAD_METADATA"):
        return zarr.open_array(files, path=key, mode="r", zarr_format=version)


class _zarr_errors:  # noqa: N801  # used as a function
    """Errors that zarr-python and its codecs raise inside become ours."""

    def __init__(self, store: Store, key: str, code: str = "BAD_CHUNK") -> None:
        self._store, self._key, self._code = store, key, code

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Codecs raise whatever they like; what the system or the user interrupts is not theirs.
        if not isinstance(error, Exception) or isinstance(error, (VoxarrayError, MemoryError)):
            return
        raise FormatError(
            f"{self._key or 'the array'} of {self._store.path} cannot be read "
            f"({type(error).__name__}: {error}); copy or write the store again",
            code=self._code,
            path=self._store.path,
        ) from error


def _chunks(array: Any, store: Store) -> tuple[int, ...]:
    try:
        return tuple(array.chunks)
    except NotImplementedError:  # zarr-python 3.4 opens chunks of several sizes, too
        raise UnsupportedError(
            f"{store.path} has chunks of several sizes: expected one size; write it again with a "
            "regular chunk grid",
            code="CHUNK_GRID",
            path=store.path,
        ) from None


def _require_known(document: Mapping[str, Any], store: Store) -> None:
    unknown = sorted(set(_codec_names(document)) - _CODECS)
    if unknown:
        raise UnsupportedError(
            f"{store.path} is encoded with {', '.join(unknown)}, which voxarray does not decode: "
            f"write it again with one of {', '.join(sorted(_CODECS))}",
            code="UNKNOWN_CODEC",
            path=store.path,
        )


def _codec_names(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of all codecs of an array, those inside shards included."""
    pending = [document.get("compressor"), *_items(document.get("filters"))]
    pending += _items(document.get("codecs"))
    while pending:
        codec = pending.pop()
        if codec is None:
            continue
        name = codec.get("name", codec.get("id")) if isinstance(codec, Mapping) else codec
        yield str(name).removeprefix("numcodecs.")
        inner = codec.get("configuration") if isinstance(codec, Mapping) else None
        if isinstance(inner, Mapping):
            pending += [*_items(inner.get("codecs")), *_items(inner.get("index_codecs"))]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
