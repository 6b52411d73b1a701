"""MINC 2: an HDF5 file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.hdf5_array import Hdf5File, dataset_dtype, opened_hdf5
from voxarray.formats._voxels.header_text import LARGEST_TEXT
from voxarray.formats.minc.metadata import MincFacts, as_text
from voxarray.source.base import Source
from voxarray.storage.file_identity import FileIdentity

_IMAGE = "minc-2.0/image/0"
_DIMENSIONS = "minc-2.0/dimensions"


def open_minc2(identity: FileIdentity) -> Source:
    """A MINC 2 image at full resolution; errors as of `open_minc`."""
    with opened_hdf5(identity.path) as file:
        if f"{_IMAGE}/image" not in file:
            raise FormatError(
                f"the HDF5 file has no array {_IMAGE}/image, so it is no MINC file: read it with "
                "a reader= of your own",
                code="NOT_MINC",
            )
        facts = _facts(file)
    facts.check()
    base = Hdf5File(
        identity=identity,
        stored=StoredVoxels(facts.shape, facts.dtype, facts.order),
        affine=facts.affine,
        channels=facts.channels,
        dataset=f"{_IMAGE}/image",
    )
    return facts.scaled(base)


def _facts(file: Any) -> MincFacts:
    image, image_min, image_max = (
        file[f"{_IMAGE}/{name}"] for name in ("image", "image-min", "image-max")
    )
    names = _axes(image)
    if len(names) != len(image.shape):
        raise FormatError(
            f"{len(image.shape)} axes are named {names}: expected a name for each in dimorder; "
            "repair the header",
            code="BAD_HEADER",
        )
    valid = image.attrs.get("valid_range")
    return MincFacts(
        names,
        tuple(int(n) for n in image.shape),
        dataset_dtype(image),
        [dict(file[f"{_DIMENSIONS}/{name}"].attrs) for name in names],
        None if valid is None else _pair(valid),
        _table(image_min),
        _table(image_max),
        (_axes(image_min), _axes(image_max)),
    )


def _axes(dataset: Any) -> tuple[str, ...]:
    """Names of the axes; an order that is left behind may name more of them: nibabel's rule."""
    return tuple(as_text(dataset.attrs.get("dimorder", "")).split(",")[: len(dataset.shape)])


def _pair(value: Any) -> NDArray[np.float64]:
    limits = np.asarray(value, np.float64)
    if limits.shape != (2,):
        raise FormatError(
            f"the valid range is {value!r}: expected two numbers; repair the header",
            code="BAD_SCALE",
        )
    return limits


def _table(dataset: Any) -> NDArray[np.float64]:
    if dataset.nbytes > LARGEST_TEXT or dataset.ndim > 2:
        raise FormatError(
            "image-min and image-max are not tables of slices: expected one number for each "
            "slice; repair the header",
            code="BAD_SCALE",
        )
    return np.asarray(dataset[()], np.float64)
