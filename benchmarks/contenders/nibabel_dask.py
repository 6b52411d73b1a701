"""nibabel, dask's array and its `to_zarr`: decoded whole, written by chunks in threads."""

from __future__ import annotations

import dask.array as da
import nibabel as nib
import numpy as np


def run(source: str, destination: str) -> None:
    # Handing dask the proxy instead would decode the stream from its start for every chunk.
    voxels = np.asanyarray(nib.load(source).dataobj)
    da.from_array(voxels, chunks=128).to_zarr(destination)
