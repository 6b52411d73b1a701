"""The ``zarr.json`` documents of an archive: Zarr 3 groups and arrays, and their reading back.

Written as the Zarr core specification 3.0 says, by hand, because opening an archive must not cost
the import of zarr-python; the tests open every one with zarr-python and tensorstore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from voxarray.archive.codecs import Codec
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.geometry.layout import Layout
from voxarray.geometry.selection import Shape4

Json = dict[str, Any]

# Without blanks it is a third smaller, and Python writes it in C, eight times as fast.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

_STORED_KINDS = "iufc"
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_CRC32C = {"name": "crc32c"}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


def dump(document: Mapping[str, Any]) -> bytes:
    """A document as bytes; NaN and infinity are refused, for JSON has none."""
    return _ENCODER.encode(document).encode()


def attributes_of(raw: bytes, path: str) -> Mapping[str, Any]:
    """Attributes of the group that a document describes.

    Raises:
        FormatError: It is not JSON, or describes none (``BAD_METADATA``).
    """
    try:
        attributes = json.loads(raw)["attributes"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"the metadata of {path} are damaged: expected JSON with attributes ({error!r}); "
            f"restore them, or {MAKE_AGAIN}",
            code="BAD_METADATA",
            path=path,
        ) from error
    if not isinstance(attributes, dict):
        raise FormatError(
            f"the attributes of {path} are not a JSON object: restore them, or {MAKE_AGAIN}",
            code="BAD_METADATA",
            path=path,
        )
    return attributes


def group(attributes: Mapping[str, Any]) -> Json:
    """Metadata of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def sharded_array(
    layout: Layout,
    dtype: np.dtype,
    codec: Codec,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
) -> Json:
    """Metadata of a voxel array; background is zero."""
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(layout.chunk),
            "codecs": codec.to_json(dtype),
            "index_codecs": [_LITTLE, _CRC32C],
            "index_location": "end",
        },
    }
    return _array(layout.shape, layout.shard, dtype, [sharding], dimensions, attributes)


def plain_array(
    shape: Sequence[int],
    dtype: np.dtype,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
) -> Json:
    """Metadata of a small array in one uncompressed chunk with a checksum."""
    first: Json = _LITTLE if dtype.itemsize > 1 else {"name": "bytes"}
    chunk = [max(1, n) for n in shape]
    return _array(shape, chunk, dtype, [first, _CRC32C], dimensions, attributes)


def _array(
    shape: Sequence[int],
    chunk: Sequence[int],
    dtype: np.dtype,
    codecs: list[Json],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
) -> Json:
    zero: Any = {"c": [0.0, 0.0], "f": 0.0}.get(dtype.kind, 0)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": _name_of(dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": _KEYS,
        "fill_value": zero,
        "codecs": codecs,
        "attributes": dict(attributes),
        "dimension_names": list(dimensions),
    }


@lru_cache(maxsize=32)  # NumPy puts a name together for each question, in Python
def _name_of(dtype: np.dtype) -> str:
    return dtype.name


@dataclass(frozen=True, slots=True)
class ArrayDocument:
    """What a voxel array's ``zarr.json`` says, checked.

    Attributes:
        layout: Shape, chunks and shards as (n, z, y, x).
        dtype: Native byte order.
        codec: Of the inner chunks.
        attributes: As stored.
    """

    layout: Layout
    dtype: np.dtype
    codec: Codec
    attributes: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes, path: str) -> ArrayDocument:
        """Read a document that `sharded_array` wrote.

        Raises:
            FormatError: If it is not such a document.
            UnsupportedError: If it names codecs or types that are not ours.
        """
        try:
            document = json.loads(raw)
            (sharding,) = document["codecs"]
            inner = sharding["configuration"]
            dtype = np.dtype(document["data_type"])
            if not _is_ours(document, sharding):
                raise UnsupportedError(
                    f"{path} is not an array that voxarray wrote: open it with another program, "
                    "or convert the source again",
                    code="UNKNOWN_CODEC",
                    path=path,
                )
            if dtype.kind not in _STORED_KINDS:
                raise UnsupportedError(
                    f"{path} has voxels of the type {dtype}, which voxarray does not archive: "
                    "open it with another program, or convert the source again",
                    code="UNSUPPORTED_DTYPE",
                    path=path,
                )
            layout = Layout(
                _four(document["shape"]),
                _four(inner["chunk_shape"]),
                _four(document["chunk_grid"]["configuration"]["chunk_shape"]),
            )
            codec = Codec.from_json(inner["codecs"])
            return cls(layout, dtype, codec, document["attributes"])
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(
                f"{path} is not the metadata of a voxarray image ({error!r}): restore it, or "
                f"{MAKE_AGAIN}",
                code="BAD_METADATA",
                path=path,
            ) from error


def _is_ours(document: Json, sharding: Json) -> bool:
    inner = sharding["configuration"]
    return (
        sharding["name"] == "sharding_indexed"
        and document["fill_value"] in (0, [0, 0])
        and document["chunk_key_encoding"] == _KEYS
        and inner["index_codecs"] == [_LITTLE, _CRC32C]
        and inner["index_location"] == "end"
    )


def _four(sizes: Sequence[int]) -> Shape4:
    n, z, y, x = (int(s) for s in sizes)
    return n, z, y, x


def chunk_key(index: Sequence[int]) -> str:
    """Key of a chunk or shard below its array (``default`` encoding)."""
    return "/".join(["c", *map(str, index)])


SCHEMAS = ("array", "image", "manifest")


def schema(name: str) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of a document in an archive.

    Args:
        name: ``"image"`` for the ``zarr.json`` of an archive and of its label maps, ``"array"`` for
            that of the voxels of a level, ``"manifest"`` for ``manifest.json``.

    Raises:
        KeyError: For another name.
    """
    if name not in SCHEMAS:
        raise KeyError(f"there is no schema {name!r}: choose one of {', '.join(SCHEMAS)}")
    from importlib.resources import files  # not needed to open an archive

    text = files("voxarray.archive").joinpath("schemas", f"{name}.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
