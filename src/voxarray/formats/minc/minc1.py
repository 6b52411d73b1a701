"""MINC 1: a netCDF file, read by offset."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats._voxels.file_array import PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import LARGEST_TEXT, beginning
from voxarray.formats.minc import netcdf3
from voxarray.formats.minc.metadata import MincFacts, as_text
from voxarray.formats.minc.netcdf3 import Variable
from voxarray.source.base import Source
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.raw_voxels import as_bytes, read_exactly

_UNSIGNED = "unsigned"


def open_minc1(identity: FileIdentity) -> Source:
    """A MINC 1 image; errors as of `open_minc`."""
    variables = netcdf3.parse(beginning(identity))
    if "image" not in variables:
        raise FormatError(
            "the netCDF file has no variable 'image', so it is no MINC file: export it again",
            code="NOT_MINC",
        )
    image = variables["image"]
    dtype = _dtype(image)
    facts = MincFacts(
        image.dimensions,
        image.shape,
        dtype,
        [variables[n].attributes if n in variables else {} for n in image.dimensions],
        _valid_range(image),
        _table(identity, variables, "image-min"),
        _table(identity, variables, "image-max"),
        (variables["image-min"].dimensions, variables["image-max"].dimensions),
    )
    facts.check()
    base = PlainFile(
        identity=identity,
        stored=StoredVoxels(facts.shape, dtype, facts.order, image.offset),
        affine=facts.affine,
        channels=facts.channels,
    )
    return facts.scaled(base)


def _dtype(image: Variable) -> np.dtype:
    """Type of the numbers: netCDF has signed ones only, an attribute says which are not.

    Raises:
        FormatError: ``BAD_HEADER``.
    """
    if image.dtype.kind == "f":
        return image.dtype
    sign = as_text(image.attributes.get("signtype", b"")).strip("_ ")
    if sign not in (_UNSIGNED, "signed") or image.dtype.kind != "i":
        raise FormatError(
            f"the file does not say whether its voxels are signed (signtype is {sign!r}): "
            "expected signed__ or unsigned; repair the header",
            code="BAD_HEADER",
        )
    kind = "u" if sign == _UNSIGNED else "i"
    return np.dtype(f">{kind}{image.dtype.itemsize}")


def _valid_range(image: Variable) -> NDArray[np.float64] | None:
    """The attribute, or the two that may stand for it."""
    valid = image.attributes.get("valid_range")
    if valid is None and {"valid_min", "valid_max"} <= image.attributes.keys():
        valid = [image.attributes["valid_min"], image.attributes["valid_max"]]
    if valid is None:
        return None
    limits = np.asarray(valid)
    if limits.shape != (2,) or limits.dtype.kind not in "iuf":
        raise FormatError(
            f"the valid range is {valid!r}: expected two numbers; repair the header",
            code="BAD_SCALE",
        )
    return limits.astype(np.float64)


def _table(
    identity: FileIdentity, variables: Mapping[str, Variable], name: str
) -> NDArray[np.float64]:
    """All numbers of a small variable.

    Raises:
        FormatError: ``BAD_SCALE``.
        TruncatedError: They lie beyond the end of the file.
    """
    variable = variables.get(name)
    if variable is None or not 0 < variable.nbytes <= LARGEST_TEXT or len(variable.shape) > 2:
        raise FormatError(
            f"there is no usable variable {name!r}: expected one number for each slice; repair "
            "the header",
            code="BAD_SCALE",
        )
    if variable.offset + variable.nbytes > identity.size:
        raise TruncatedError(
            f"{name!r} ends at byte {variable.offset + variable.nbytes}, and the file at "
            f"{identity.size}: copy or download the file again"
        )
    numbers = np.empty(math.prod(variable.shape), variable.dtype)
    fd = identity.open()
    try:
        read_exactly(fd, as_bytes(numbers), variable.offset)
    finally:
        os.close(fd)
    return numbers.astype(np.float64).reshape(variable.shape)
