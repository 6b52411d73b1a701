"""Where voxels come from: one small, frozen, picklable object per file.

A source knows nothing of xarray, dask, torch or `Image`; it says shape, type, affine and preferred
blocks, and reads a selection into a NumPy array.
"""
