"""Zarr stores that others wrote: OME-Zarr 0.4 to 0.6, NIfTI-Zarr, arrays with dimension names.

Archives of ours go to the strict reader (`voxarray.archive.source`); everything else is decoded
by zarr-python, under the rules of the format. One of them matters: **a chunk that is not there is
the fill value**. In a store that was not copied whole, missing chunks therefore look like
background; convert what matters to an archive, which refuses them. A transport error is never
taken for a missing chunk.
"""
