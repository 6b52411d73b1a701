"""Lazy operations: sources that are computed from other sources, a part at a time.

An operation reads of its inputs only what the voxels that it is asked for need, so images,
patches, dask and the writers work on it as on a file.
"""
