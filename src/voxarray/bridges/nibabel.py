"""nibabel images: lazy in both directions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from voxarray.bridges.nibabel_proxy import VoxelProxy
from voxarray.bridges.nibabel_source import ProxySource, channels_first, require_numbers
from voxarray.geometry.grid import checked_affine
from voxarray.nifti_header.build import header_for
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels, Source
from voxarray.source.window import Window


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
        template=source.nifti_header,
    )
    kind = nib.Nifti1Image if NiftiHeader.parse(header).version == 1 else nib.Nifti2Image
    described = kind.header_class.from_fileobj(io.BytesIO(header))
    proxy = VoxelProxy(source, described.get_data_shape())
    return kind(proxy, source.affine, described)


def from_nibabel(image: Any) -> Source:
    """Voxels and affine of a spatial image of nibabel; what it would read lazily stays unread.

    Raises:
        TypeError: If it is no spatial image of nibabel.
        UnsupportedError: For voxels that are no numbers (``UNSUPPORTED_DTYPE``), and for other
            shapes than (W, H), (W, H, D), (W, H, D, C) and (W, H, D, 1, C) (``BAD_DIMS``).
    """
    from nibabel.arrayproxy import is_proxy
    from nibabel.spatialimages import SpatialImage

    if not isinstance(image, SpatialImage):
        raise TypeError(f"from_nibabel takes an image of nibabel, not {type(image).__name__}")
    affine = checked_affine(np.eye(4) if image.affine is None else image.affine)
    channels = _channels(image)
    voxels = image.dataobj
    if isinstance(voxels, VoxelProxy):
        return Window.of(voxels.source).with_affine(affine)
    if is_proxy(voxels):
        return ProxySource.of(voxels, image.get_data_dtype(), affine, channels)
    array = np.asarray(voxels)
    require_numbers(array.dtype)
    return ArraySource(channels_first(array), affine, channels)


def _channels(image: Any) -> Channels:
    """What the fourth axis counts: only NIfTI headers can say that it is time."""
    from nibabel.nifti1 import Nifti1Pair

    if not isinstance(image, Nifti1Pair):
        return Channels()
    return NiftiHeader.parse(image.header.binaryblock).channels
