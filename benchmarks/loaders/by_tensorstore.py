"""Tensorstore with its default context."""

from __future__ import annotations

import tensorstore


def open_reader(path):
    kvstore = {"driver": "file", "path": f"{path}/scale0/image"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    return lambda box: array[0, *box].read().result()
