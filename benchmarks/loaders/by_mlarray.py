"""mlarray, nnU-Net's store on blosc2: memory-mapped, laid out for the patch size."""

from __future__ import annotations

from mlarray import MLArray


def open_reader(path):
    array = MLArray.open(path)
    return lambda box: array[box]


def write(source, destination, patch):
    import numpy as np

    MLArray(np.load(source), patch_size=int(patch)).save(destination)
