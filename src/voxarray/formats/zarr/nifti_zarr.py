"""NIfTI-Zarr: OME-Zarr with the bytes of a NIfTI header beside it, which hold the full affine."""

from __future__ import annotations

from voxarray.core.errors import FormatError
from voxarray.formats.zarr.node import Node
from voxarray.formats.zarr.voxels import ZarrVoxels
from voxarray.nifti_header.header import NiftiHeader
from voxarray.storage.store import Store

KEY = "nifti"

_MAX_BYTES = 64 << 20  # a header may be followed by its extensions


def header_of(store: Store, group: Node) -> NiftiHeader | None:
    """The NIfTI header of a group; None if it has none.

    Raises:
        FormatError: The array is no NIfTI header; codes as in `NiftiHeader.parse`.
    """
    node = Node.read(store, group.below(KEY))
    if node is None or not node.is_array:
        return None
    array = ZarrVoxels.of(store, node)
    if len(array.shape) != 1 or array.dtype.itemsize != 1 or array.shape[0] > _MAX_BYTES:
        raise FormatError(
            f"{node.key} of {store.path} has the shape {array.shape} and the type {array.dtype}, "
            "but a NIfTI header is one row of bytes: write the store again",
            code="NOT_NIFTI",
            path=store.path,
        )
    try:
        return NiftiHeader.parse(array.read([range(min(array.shape[0], 544))]).tobytes())
    except FormatError as error:
        error.path = store.path
        raise
