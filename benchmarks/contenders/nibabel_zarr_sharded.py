"""nibabel and zarr-python with voxarray's chunks, shards and codec, and a checksum per chunk."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec


def run(source: str, destination: str) -> None:
    voxels = np.asanyarray(nib.load(source).dataobj).T  # (z, y, x), contiguous
    shards = tuple(64 * min(4, -(-n // 64)) for n in voxels.shape)
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
    array = zarr.create_array(
        destination,
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=(64, 64, 64),
        shards=shards,
        compressors=[codec, Crc32cCodec()],
    )
    array[...] = voxels
