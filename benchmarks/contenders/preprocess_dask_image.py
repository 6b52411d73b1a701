"""The same preprocessing with nibabel, dask and dask-image's `affine_transform`, lazily, to Zarr.

The percentiles are exact, as everybody else's: dask's own are approximate.
"""

from __future__ import annotations

import dask.array as da
import nibabel as nib
import numpy as np
from dask_image.ndinterp import affine_transform

SHAPE, CHUNKS = (256, 256, 256), (128, 128, 128)


def run(source: str, destination: str) -> None:
    image = nib.as_closest_canonical(nib.load(source))
    # Decoded whole: dask's slices of a compressed file would decode it from its start each time.
    voxels = da.from_array(np.asarray(image.dataobj, np.float32), chunks=CHUNKS)
    zoom = 1 / np.array(image.header.get_zooms()[:3])
    size = tuple(int(n) for n in np.ceil(np.array(voxels.shape) / zoom))
    resampled = affine_transform(
        voxels, np.diag(zoom), (zoom - 1) / 2, size, order=1, output_chunks=CHUNKS
    )
    fitted = _cropped_or_padded(resampled).persist()  # what follows looks at all of it twice
    low, high = np.percentile(fitted.compute(), (0.5, 99.5))
    scaled = (fitted.clip(low, high) - low) / (high - low)
    done = (scaled - scaled.mean()) / scaled.std(ddof=1)
    done.astype(np.float32).rechunk(CHUNKS).to_zarr(destination)


def _cropped_or_padded(array: da.Array) -> da.Array:
    missing = [want - have for want, have in zip(SHAPE, array.shape, strict=True)]
    cut = [max(-n, 0) // 2 for n in missing]
    array = array[
        tuple(slice(c, c + min(w, h)) for c, w, h in zip(cut, SHAPE, array.shape, strict=True))
    ]
    return da.pad(array, [(-(-max(n, 0) // 2), max(n, 0) // 2) for n in missing])
