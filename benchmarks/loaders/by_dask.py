"""The image's dask array: a graph is built, cut and run for every patch."""

from __future__ import annotations

import voxarray as vx


def open_reader(path):
    array = vx.ScalarImage(path).dask
    return lambda box: array[0][box[::-1]].compute()
