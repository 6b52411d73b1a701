"""The bytes of NIfTI-1 and NIfTI-2 headers, by name, and the codes that stand in them.

Field order and meaning: nifti1.h and nifti2.h of https://nifti.nimh.nih.gov. Multi-byte fields are
little- or big-endian; ``sizeof_hdr``, 348 or 540 read one way round, says which.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

Version = Literal[1, 2]

HEADER_BYTES: dict[Version, int] = {1: 348, 2: 540}

EXTENSION_FLAG_BYTES = 4
"""They follow the header of a single file; a first byte that is not 0 announces extensions."""

MAGIC: dict[Version, bytes] = {1: b"n+1", 2: b"n+2"}
PAIR_MAGIC: dict[Version, bytes] = {1: b"ni1", 2: b"ni2"}

EOL_CHECK = (13, 10, 26, 10)
"""CR LF ^Z LF after the magic of NIfTI-2: a transfer in text mode would have changed them."""

LARGEST_SIZE: dict[Version, int] = {1: 2**15 - 1, 2: 2**63 - 1}
"""Most voxels along an axis that ``dim`` can say."""

_NIFTI1 = [
    ("sizeof_hdr", "i4"),
    ("data_type", "S10"),
    ("db_name", "S18"),
    ("extents", "i4"),
    ("session_error", "i2"),
    ("regular", "S1"),
    ("dim_info", "u1"),
    ("dim", "i2", (8,)),
    ("intent_p", "f4", (3,)),
    ("intent_code", "i2"),
    ("datatype", "i2"),
    ("bitpix", "i2"),
    ("slice_start", "i2"),
    ("pixdim", "f4", (8,)),
    ("vox_offset", "f4"),
    ("scl_slope", "f4"),
    ("scl_inter", "f4"),
    ("slice_end", "i2"),
    ("slice_code", "u1"),
    ("xyzt_units", "u1"),
    ("cal_max", "f4"),
    ("cal_min", "f4"),
    ("slice_duration", "f4"),
    ("toffset", "f4"),
    ("glmax", "i4"),
    ("glmin", "i4"),
    ("descrip", "S80"),
    ("aux_file", "S24"),
    ("qform_code", "i2"),
    ("sform_code", "i2"),
    ("quatern", "f4", (3,)),
    ("qoffset", "f4", (3,)),
    ("srow", "f4", (3, 4)),
    ("intent_name", "S16"),
    ("magic", "S4"),
]

_NIFTI2 = [
    ("sizeof_hdr", "i4"),
    ("magic", "S4"),
    ("eol_check", "i1", (4,)),
    ("datatype", "i2"),
    ("bitpix", "i2"),
    ("dim", "i8", (8,)),
    ("intent_p", "f8", (3,)),
    ("pixdim", "f8", (8,)),
    ("vox_offset", "i8"),
    ("scl_slope", "f8"),
    ("scl_inter", "f8"),
    ("cal_max", "f8"),
    ("cal_min", "f8"),
    ("slice_duration", "f8"),
    ("toffset", "f8"),
    ("slice_start", "i8"),
    ("slice_end", "i8"),
    ("descrip", "S80"),
    ("aux_file", "S24"),
    ("qform_code", "i4"),
    ("sform_code", "i4"),
    ("quatern", "f8", (3,)),
    ("qoffset", "f8", (3,)),
    ("srow", "f8", (3, 4)),
    ("slice_code", "i4"),
    ("xyzt_units", "i4"),
    ("intent_code", "i4"),
    ("intent_name", "S16"),
    ("dim_info", "u1"),
    ("unused_str", "S15"),
]

LAYOUT: dict[Version, np.dtype] = {1: np.dtype(_NIFTI1), 2: np.dtype(_NIFTI2)}
"""Fields in the order of the file, in native byte order."""


@cache  # to turn forty fields round takes as long as reading a header
def layout_of(version: Version, byteorder: Literal["<", ">"]) -> np.dtype:
    """Fields in the order of the file, in a byte order."""
    return LAYOUT[version].newbyteorder(byteorder)


TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name", "unused_str")
"""Free text, in which scanners and tools leave names and dates."""

DATATYPES: dict[int, np.dtype] = {
    2: np.dtype(np.uint8),
    4: np.dtype(np.int16),
    8: np.dtype(np.int32),
    16: np.dtype(np.float32),
    32: np.dtype(np.complex64),
    64: np.dtype(np.float64),
    256: np.dtype(np.int8),
    512: np.dtype(np.uint16),
    768: np.dtype(np.uint32),
    1024: np.dtype(np.int64),
    1280: np.dtype(np.uint64),
    1792: np.dtype(np.complex128),
}
"""Types that every platform has; 80- and 128-bit floats differ between compilers."""

COLOURS: dict[int, int] = {128: 3, 2304: 4}
"""RGB24 and RGBA32: uint8 components that stand together for each voxel."""

DATATYPE_NAMES: dict[int, str] = {1: "1-bit binary", 1536: "float128", 2048: "complex256"}

XFORM_CODES = range(6)
"""Unknown, scanner, aligned, Talairach, MNI 152, other template."""

SCANNER = 1
MILLIMETRE = 2
ALIGNED = 2
SPACE_UNITS: dict[int, str] = {0: "unknown", 1: "metre", 2: "mm", 3: "micron"}
MILLIMETRES: dict[int, float] = {1: 1e3, 3: 1e-3}
"""Per unit of length; a unit that is not given, or unknown, counts as millimetres, as in ITK."""

SECOND = 8
TIME_UNITS = 0x38
"""Bits of ``xyzt_units`` that say the unit of the fourth axis."""
SECONDS: dict[int, float] = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
"""Seconds per unit of ``pixdim[4]``. A unit that is not given counts as seconds, as in ITK and FSL;
hertz, ppm and rad/s are missing, for then the fourth axis is not time."""

LABEL_INTENT = 1002
"""NIFTI_INTENT_LABEL: without it, NiiVue takes labels for intensities, and paints all alike."""

VECTOR = 1007
NOT_TIME = frozenset({1004, 1005, 1006, VECTOR, 1010, 2003, 2004, 2006, 2007, 2008, 2009})
"""Intents whose fourth axis holds the components of a matrix, vector, colour or FSL warp."""
