"""``xr.open_dataset(path, engine="voxarray")`` for everything that voxarray can open."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from voxarray.source.base import Source
from voxarray.source.indexing import SourceArray
from voxarray.xarray_index import accessor  # noqa: F401  # opened datasets have .vox
from voxarray.xarray_index.attach import ARRAY_DIMS, coordinates
from voxarray.xarray_index.lazy import blocks_of, channel_attrs

VARIABLE = "image"

# Not .zarr: those directories are xarray's own to guess, and ours open in it as well.
_GUESSED = (".nii", ".nii.gz")


class VoxarrayBackend(BackendEntrypoint):
    """Medical images as a Dataset with one variable, ``image`` (c, x, y, z), in mm RAS+.

    Nothing is read before it is needed. With ``chunks={}`` it is a dask array in the blocks
    that the file reads best; ``level=n`` opens a level of a pyramid.
    """

    description = "Medical images with their affine as coordinates (NIfTI, voxarray archives)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "level")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int = 0,
    ) -> xr.Dataset:
        """Open a file or an archive.

        Args:
            filename_or_obj: Path.
            drop_variables: Names to leave out.
            level: Level of an archive's pyramid, 0 the finest.

        Raises:
            OutOfRangeError: If there is no such level.
        """
        from voxarray.formats.registry import open_source  # knows every format: only to open

        dataset = dataset_of(open_source(filename_or_obj).level(level))
        if drop_variables is None:
            return dataset
        names = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables)
        return dataset.drop_vars(names, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the name is that of a NIfTI file, which no other backend opens."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        return str(os.fspath(filename_or_obj)).lower().endswith(_GUESSED)


def dataset_of(source: Source) -> xr.Dataset:
    """A Dataset that reads the source when its variable is indexed; without dask."""
    preferred = dict(zip(ARRAY_DIMS, blocks_of(source), strict=True))
    variable = xr.Variable(
        ARRAY_DIMS,
        indexing.LazilyIndexedArray(SourceBackendArray(source)),
        channel_attrs(source.channels),
        {"preferred_chunks": preferred},
    )
    return xr.Dataset({VARIABLE: variable}, coords=coordinates(source.affine, source.shape[1:]))


class SourceBackendArray(BackendArray):
    """The source in xarray's lazy indexing: each key is one `Source.read`.

    Attributes:
        source: What is read.
        shape: (C, W, H, D).
        dtype: Type of the voxels.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray:
        array = SourceArray(self.source)
        support = indexing.IndexingSupport.OUTER
        read: NDArray = indexing.explicit_indexing_adapter(
            key, self.shape, support, array.__getitem__
        )
        return read
