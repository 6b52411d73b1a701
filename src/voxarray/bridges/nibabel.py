"""nibabel images: lazy in both directions."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np

from voxarray.bridges.nibabel_proxy import VoxelProxy
from voxarray.bridges.nibabel_source import ProxySource, channels_first, require_numbers
from voxarray.geometry.grid import checked_affine
from voxarray.nifti_header.build import header_for
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels, OriginalHeader, Source
from voxarray.source.sliced import SlicedSource

_EDITED = {
    "xyzt_units",
    "toffset",
    "cal_min",
    "cal_max",
    "intent_code",
    "dim_info",
    "slice_code",
    "slice_start",
    "slice_end",
    "slice_duration",
}
"""Fields of a header that mean something to an image."""

_SPACES = {"sform_code", "qform_code"}
"""nibabel sets these, too, if it is given another affine."""


def to_nibabel(source: Source) -> Any:
    """A `nibabel.Nifti1Image` (or `Nifti2Image`, for long axes) whose voxels are still unread.

    Its header is the one with which the image would be saved; its affine is exact.

    Raises:
        UnsupportedError: For voxels that NIfTI has no type for (``UNSUPPORTED_DTYPE``).
    """
    import nibabel as nib

    header = header_for(
        source.shape,
        source.dtype,
        source.affine,
        source.channels,
        template=source.original_header,
    )
    kind = nib.Nifti1Image if NiftiHeader.parse(header).version == 1 else nib.Nifti2Image
    described = kind.header_class.from_fileobj(io.BytesIO(header))
    proxy = VoxelProxy(source, described.get_data_shape())
    return kind(proxy, source.affine, described)


def from_nibabel(image: Any) -> Source:
    """Voxels and affine of a spatial image of nibabel; what it would read lazily stays unread.

    A NIfTI header that says metres or micrometres is believed, so that the affine is in mm. So is
    one that was changed after `to_nibabel` had made it.

    Raises:
        TypeError: If it is no spatial image of nibabel.
        UnsupportedError: For voxels that are no numbers (``UNSUPPORTED_DTYPE``), and for other
            shapes than (W, H), (W, H, D), (W, H, D, C) and (W, H, D, 1, C) (``BAD_DIMS``).
    """
    from nibabel.arrayproxy import is_proxy
    from nibabel.spatialimages import SpatialImage

    if not isinstance(image, SpatialImage):
        raise TypeError(f"from_nibabel takes a nibabel image, not {type(image).__name__}")
    affine = checked_affine(np.eye(4) if image.affine is None else image.affine)
    header = _header(image)
    channels, origin = Channels(), None
    if header is not None:
        affine = checked_affine(np.diag([*[header.millimetres] * 3, 1.0]) @ affine)
        channels = header.channels  # no other format's header can say that it is time
        is_own = np.allclose(header.affine, affine, rtol=1e-5, atol=1e-5 * np.abs(affine).max())
        origin = OriginalHeader(header.scrubbed(), same_space=is_own)
    voxels = image.dataobj
    if isinstance(voxels, VoxelProxy):
        ours = SlicedSource.of(voxels.source)
        if header is None or not _is_edited(image, ours):
            return ours.with_affine(affine)
        edited = replace(ProxySource.of(voxels, voxels.dtype, affine, channels), origin=origin)
        return SlicedSource.of(edited).recorded(*ours.history)
    if is_proxy(voxels):
        stored = image.get_data_dtype()
        return replace(ProxySource.of(voxels, stored, affine, channels), origin=origin)
    array = np.asarray(voxels)
    require_numbers(array.dtype)
    return ArraySource(channels_first(array), affine, channels, origin=origin)


def _is_edited(image: Any, source: Source) -> bool:
    """Whether the header of `to_nibabel` says something else now, apart from what moves voxels."""
    made = to_nibabel(source)
    fields = _EDITED | (_SPACES if np.array_equal(image.affine, made.affine) else set())
    ours, theirs = made.header, image.header
    return bool(np.any(ours["pixdim"][4:] != theirs["pixdim"][4:])) or any(
        ours[name] != theirs[name] for name in fields
    )


def _header(image: Any) -> NiftiHeader | None:
    from nibabel.nifti1 import Nifti1Pair

    if not isinstance(image, Nifti1Pair):
        return None
    return NiftiHeader.parse(image.header.binaryblock)
