"""A small scan that is made on the spot, so that every example runs offline."""

from __future__ import annotations

import numpy as np

from voxarray.geometry.selection import Shape3
from voxarray.image import ScalarImage
from voxarray.testing.synthetic import Phantom


def sample(shape: Shape3 = (64, 56, 48), spacing: float = 2.0) -> ScalarImage:
    """A made-up head: an ellipsoid of int16 voxels with texture and noise, in memory.

    Examples:
        >>> from voxarray.testing import sample
        >>> sample().shape
        (1, 64, 56, 48)

    Args:
        shape: (W, H, D).
        spacing: Distance between voxel centres, mm.
    """
    phantom = Phantom(shape, spacing=spacing)
    voxels = phantom.planes(0, shape[2]).transpose(2, 1, 0)[None]
    return ScalarImage(tensor=np.ascontiguousarray(voxels), affine=phantom.affine)
