"""One array of an HDF5 file as a source; h5py opens the file for each read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.file_array import Box, FileArray
from voxarray.formats._voxels.stream_decoders import DEFLATE_RATIO
from voxarray.geometry.selection import Shape4
from voxarray.source.slabs import SLAB_BYTES, Slabs


@contextmanager
def opened_hdf5(path: str) -> Iterator[Any]:
    """An `h5py.File`; whatever h5py stumbles over is an error with a name.

    Raises:
        MissingPackageError: h5py is not installed.
        FormatError: ``BAD_HEADER``.
    """
    h5py = import_optional("h5py", "voxarray[hdf5]", path=path)
    try:
        # Locking as the library does by default: flags of its own would keep others in this
        # process, who have the same file open, from sharing it.
        with h5py.File(path, "r") as file:
            yield file
    except VoxarrayError:
        raise
    except Exception as error:
        raise FormatError(
            f"h5py cannot read this file ({type(error).__name__}: {error}): it has another format "
            "or is damaged; check its suffix, or copy it again",
            code="BAD_HEADER",
        ) from error


@dataclass(frozen=True, eq=False, kw_only=True)
class Hdf5File(FileArray):
    """Chunks are decoded by h5py, those that a box touches.

    The file is opened for each read and closed again: its library keeps state that neither
    threads nor forks share safely.

    Attributes:
        dataset: Where in the file the array is.
    """

    dataset: str

    def _check_extent(self) -> None:
        self.stored.require_decoded(self.identity.size, DEFLATE_RATIO)

    @property
    def _block(self) -> Shape4:
        return Slabs.of(self.stored.disk_shape, self.stored.dtype.itemsize, SLAB_BYTES).largest

    def _read_stored(self, box: Box, out: NDArray) -> None:
        with self.opened(), opened_hdf5(self.identity.path) as file:
            dataset = file[self.dataset]
            # Axes that the file lacks have a size of 1 and run slowest.
            slices = [slice(r.start, r.stop, r.step) for r in box[len(box) - dataset.ndim :]]
            out[...] = np.asarray(dataset[tuple(slices)]).reshape(out.shape)


def dataset_dtype(dataset: Any) -> np.dtype:
    """Type of the numbers of an `h5py.Dataset`.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
    """
    dtype: np.dtype = np.dtype(dataset.dtype)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnsupportedError(
            f"voxels of type {dtype} cannot be read: convert them to numbers of 8 to 64 bits first",
            code="UNSUPPORTED_DTYPE",
        )
    return dtype
