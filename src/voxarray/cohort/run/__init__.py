"""Doing it: in this process, on dask, or as a job array."""
