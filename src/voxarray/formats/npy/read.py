"""NumPy's ``.npy``: an array and nothing else, so that voxels are placed by the identity."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from numpy.lib import format as npy_format

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import beginning, checked_sizes
from voxarray.storage.file_identity import FileIdentity

_LARGEST_HEADER = 64 << 10

_C, _W, _H, _D, _NONE = 0, 1, 2, 3, -1

_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
    # Differs in the encoding of the names of fields, and arrays with fields are no images.
    (3, 0): npy_format.read_array_header_2_0,
}


def open_npy(path: str | os.PathLike[str]) -> FileArray:
    """An array of shape (W, H), (W, H, 3), (3, W, H), (W, H, D), (C, W, H, D) or (W, H, D, 1, C).

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``NOT_NPY``, ``BAD_DIMS``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: Voxels are no numbers, or of more than 64 bits (``UNSUPPORTED_DTYPE``).
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        sizes, is_fortran, dtype, offset = _header(beginning(identity, _LARGEST_HEADER))
        if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            raise UnsupportedError(
                f"voxels of type {dtype} cannot be read: save them as numbers of 8 to 64 bits",
                code="UNSUPPORTED_DTYPE",
            )
        roles = _roles(checked_sizes(sizes, 5))
        if is_fortran:
            sizes, roles = sizes[::-1], roles[::-1]
        stored = _stored(sizes, roles, dtype, offset)
    return PlainFile(identity=identity, stored=stored, affine=np.eye(4))


def _header(start: bytes) -> tuple[Sequence[int], bool, np.dtype, int]:
    file = io.BytesIO(start)
    try:
        reader = _READERS[npy_format.read_magic(file)]
        shape, is_fortran, dtype = reader(file, max_header_size=_LARGEST_HEADER)
    except Exception as error:  # the header is parsed as Python, which may fail in many ways
        raise FormatError(
            f"this is not an .npy file: {error}; check its suffix, or copy it again", code="NOT_NPY"
        ) from None
    return shape, is_fortran, dtype, file.tell()


def _roles(sizes: Sequence[int]) -> tuple[int, ...]:
    """Which of C, W, H, D each axis is; the rules of `voxarray.source.custom_reader.as_4d`."""
    if len(sizes) == 2:
        return _W, _H
    if len(sizes) == 3 and sizes[-1] == 3:
        return _W, _H, _C
    if len(sizes) == 3:
        return (_C, _W, _H) if sizes[0] == 3 else (_W, _H, _D)
    if len(sizes) == 4:
        return _C, _W, _H, _D
    if len(sizes) == 5 and sizes[3] == 1:
        return _W, _H, _D, _NONE, _C
    raise FormatError(
        "an image has shape (W, H), (W, H, 3), (3, W, H), (W, H, D), (C, W, H, D) or (W, H, D, "
        f"1, C), and this array has {tuple(sizes)}: select or join axes first",
        code="BAD_DIMS",
    )


def _stored(
    sizes: Sequence[int], roles: Sequence[int], dtype: np.dtype, offset: int
) -> StoredVoxels:
    """The same array with all four axes, those that it lacks outermost."""
    by_role = dict(zip(roles, sizes, strict=True))
    present = [role for role in roles if role != _NONE]
    a, b, c, d = (*(role for role in range(4) if role not in present), *present)
    shape = (by_role.get(_C, 1), by_role[_W], by_role[_H], by_role.get(_D, 1))
    return StoredVoxels(shape, dtype, (a, b, c, d), offset)
