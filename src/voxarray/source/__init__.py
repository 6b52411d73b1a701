"""Where voxels come from: one small, frozen, picklable object per file.

A source knows nothing of xarray, dask, torch or `Image`; it says shape, type, affine and preferred
blocks, and reads a selection into a NumPy array. Authors of formats implement `Source`. The
function that opens their files is named in a `voxarray.Format`.
"""

from __future__ import annotations

from voxarray.geometry.selection import Selection
from voxarray.source.base import Channels, Source, VoxelStream

__all__ = ["Channels", "Selection", "Source", "VoxelStream"]
