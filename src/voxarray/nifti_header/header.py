"""A NIfTI header as a value: what it says, checked against what the standard allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, GridError, TruncatedError, UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Shape4
from voxarray.nifti_header.affine import affine_in_mm, millimetres, sizes, spacings, xform_code
from voxarray.nifti_header.fields import (
    COLOURS,
    DATATYPE_NAMES,
    DATATYPES,
    EXTENSION_FLAG_BYTES,
    HEADER_BYTES,
    MAGIC,
    NOT_TIME,
    PAIR_MAGIC,
    SECONDS,
    TEXT_FIELDS,
    TIME_UNITS,
    Version,
    layout_of,
)
from voxarray.source.base import Channels

LARGEST_HEADER = HEADER_BYTES[2]

LARGEST_RATIO = 1032
"""Most bytes that deflate can make of one (258 per 2 bits): a promise beyond it is a lie."""


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI-1 or -2 header says about its image.

    Attributes:
        raw: The 348 or 540 bytes as they stand in the file.
    """

    raw: bytes

    @classmethod
    def parse(cls, start: bytes) -> NiftiHeader:
        """Header at the start of a file (544 bytes suffice), with all its facts checked.

        Raises:
            TruncatedError: There are fewer bytes than a header has.
            UnsupportedError: A header/image pair, or a data type or dimensions that are valid and
                do not fit a (C, W, H, D) array (``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``).
            FormatError: ``NOT_NIFTI``, ``BAD_DIMS``, ``BAD_OFFSET``, ``BAD_SPACING``,
                ``BAD_AFFINE`` or ``BAD_SCALE``.
        """
        if len(start) < HEADER_BYTES[1]:
            raise TruncatedError(
                f"a NIfTI header has 348 or 540 bytes, but this file has {len(start)}: copy or "
                "download it again"
            )
        size = _version(start)[0]
        raw = bytes(start[: HEADER_BYTES[size]])
        if len(raw) < HEADER_BYTES[size]:
            raise TruncatedError(
                f"a NIfTI-2 header has 540 bytes, but this file has {len(start)}: copy or "
                "download it again"
            )
        return _checked(raw)

    def __reduce__(self) -> tuple[Any, ...]:
        return NiftiHeader, (self.raw,)  # cached facts are made again, and stay read-only

    def _check(self) -> None:
        _ = self.is_single, self.stored, self.shape, self.offset, self.scaling
        if not self.has_spacings and not xform_code(self.record, "sform_code"):
            raise FormatError(
                f"the spacing is {self.record['pixdim'][1:4].tolist()}: pixdim must be finite and "
                "not 0 along axes of more than one voxel, unless there is an sform; repair the "
                "header",
                code="BAD_SPACING",
            )
        _ = self.affine

    @cached_property
    def _layout(self) -> tuple[Version, Literal["<", ">"]]:
        return _version(self.raw)

    @property
    def version(self) -> Version:
        """1 or 2."""
        return self._layout[0]

    @property
    def byteorder(self) -> Literal["<", ">"]:
        """Byte order of the header and the voxels."""
        return self._layout[1]

    @cached_property
    def record(self) -> Any:
        """The fields by name, as in `nifti_fields`; read-only."""
        return np.frombuffer(self.raw, layout_of(*self._layout))[0]

    @cached_property
    def is_single(self) -> bool:
        """Whether the voxels follow in the same file.

        Raises:
            FormatError: The magic is none of NIfTI's (``NOT_NIFTI``).
        """
        magic = bytes(self.record["magic"])
        if magic not in (MAGIC[self.version], PAIR_MAGIC[self.version]):
            raise FormatError(
                f"the magic of NIfTI-{self.version} is {MAGIC[self.version]!r} or "
                f"{PAIR_MAGIC[self.version]!r}, but this file has {magic!r}: if it is an ANALYZE "
                "file, convert it to NIfTI; otherwise copy it again",
                code="NOT_NIFTI",
            )
        return magic == MAGIC[self.version]

    # --- Voxels -------------------------------------------------------------------------------

    @cached_property
    def stored(self) -> np.dtype:
        """Type of one stored number, in the file's byte order.

        Raises:
            UnsupportedError: ``UNSUPPORTED_DTYPE``.
        """
        code = int(self.record["datatype"])
        if code in COLOURS:
            return np.dtype(np.uint8)
        if code not in DATATYPES:
            name = DATATYPE_NAMES.get(code, "unknown to the standard")
            raise UnsupportedError(
                f"voxels of NIfTI type {code} ({name}) cannot be read without changing them: "
                "convert the file to float64, complex128 or an integer type",
                code="UNSUPPORTED_DTYPE",
            )
        return DATATYPES[code].newbyteorder(self.byteorder)

    @property
    def colours(self) -> int:
        """Components that stand together for each voxel: 3 for RGB24, 4 for RGBA32, else 0."""
        return COLOURS.get(int(self.record["datatype"]), 0)

    @cached_property
    def shape(self) -> Shape4:
        """(C, W, H, D): C counts time points, or vector components, or colours.

        Raises:
            FormatError: A size below 1, or more than seven dimensions (``BAD_DIMS``).
            UnsupportedError: More axes in use than C, W, H, D (``UNSUPPORTED_DIMS``).
        """
        used = int(self.record["dim"][0])
        if not 1 <= used <= 7 or min(dims := sizes(self.record).tolist()) < 1:
            raise FormatError(
                f"dim is {self.record['dim'].tolist()}: it must say 1 to 7 dimensions of at least "
                "one voxel each; repair the header",
                code="BAD_DIMS",
            )
        w, h, d, *more = dims
        counts = [n for n in (*more, self.colours or 1) if n > 1]
        if len(counts) > 1:
            raise UnsupportedError(
                f"dimensions {(w, h, d, *more)} with {self.colours or 1} colours need more axes "
                "than (C, W, H, D): split the file",
                code="UNSUPPORTED_DIMS",
            )
        return (counts or [1])[0], w, h, d

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.stored.itemsize

    @cached_property
    def offset(self) -> int:
        """Bytes before the first voxel.

        Raises:
            FormatError: ``BAD_OFFSET``.
        """
        value = self.record["vox_offset"].item()
        least = self._least_offset
        if value == 0:
            return least
        if not math.isfinite(value) or value != int(value) or value < least:
            raise FormatError(
                f"vox_offset is {value}: expected a whole number of bytes, {least} or more; "
                "repair the header",
                code="BAD_OFFSET",
            )
        return int(value)

    @property
    def _least_offset(self) -> int:
        """Where voxels start if no extensions stand before them."""
        return HEADER_BYTES[self.version] + EXTENSION_FLAG_BYTES if self.is_single else 0

    def check_extent(self, available: int, *, compressed: bool, ratio: int = LARGEST_RATIO) -> None:
        """Refuse, before anything is allocated, what a file of ``available`` bytes cannot hold.

        Args:
            available: Bytes of the file.
            compressed: Whether it is compressed.
            ratio: Most bytes that its codec makes of one; of deflate by default.

        Raises:
            FormatError: ``BAD_OFFSET``, or ``DIMS_EXCEED_FILE`` where not even the codec could
                have made the file so small.
            TruncatedError: An uncompressed file that lacks some of its voxels.
        """
        largest = available * ratio
        if self.offset > (largest if compressed else available):
            raise FormatError(
                f"vox_offset says that voxels start at byte {self.offset}, and the file has "
                f"{available} bytes: it was cut short, or its header is wrong; copy it again, or "
                "repair the header",
                code="BAD_OFFSET",
            )
        needed = self.offset + self.nbytes
        if needed > largest:
            raise FormatError(
                f"dimensions {self.shape} of {self.stored.name} take {needed} bytes, and a file "
                f"of {available} bytes cannot hold them: repair the header, or copy the file again",
                code="DIMS_EXCEED_FILE",
            )
        if not compressed and needed > available:
            raise TruncatedError(
                f"the header promises {needed} bytes, but the file has {available}: copy or "
                "download it again"
            )

    @cached_property
    def scaling(self) -> Scaling | None:
        """Slope and intercept, None if voxels are meant as they are stored.

        The standard: a slope of 0 means unscaled, and colours are never scaled. NaN is how
        nibabel writes "unscaled".

        Raises:
            FormatError: An infinite slope, or an intercept that is not finite (``BAD_SCALE``).
        """
        slope, intercept = float(self.record["scl_slope"]), float(self.record["scl_inter"])
        if slope == 0 or math.isnan(slope) or self.colours:
            return None
        if math.isinf(slope) or not math.isfinite(intercept):
            raise FormatError(
                f"scl_slope is {slope} and scl_inter {intercept}: both must be finite; set the "
                "slope to 0 if the voxels are unscaled",
                code="BAD_SCALE",
            )
        return None if (slope, intercept) == (1, 0) else Scaling(slope, intercept)

    # --- Geometry and axes --------------------------------------------------------------------

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm, the one that nibabel chooses; read-only.

        Metres and micrometres are converted, as in ITK; nibabel keeps their numbers.

        Raises:
            FormatError: It is not finite, or singular (``BAD_AFFINE``).
        """
        try:
            return checked_affine(affine_in_mm(self.record))
        except GridError as error:
            raise FormatError(error.message, code=error.code) from error

    @cached_property
    def has_spacings(self) -> bool:
        """Whether ``pixdim`` holds spacings; where there is an sform, that says them again."""
        steps = self.record["pixdim"][1:4].tolist()  # three numbers: NumPy takes longer
        if 0 in steps:
            steps = spacings(self.record).tolist()
        return 0 not in steps and all(map(math.isfinite, steps))

    @property
    def millimetres(self) -> float:
        """Millimetres per unit of length."""
        return millimetres(self.record)

    @cached_property
    def channels(self) -> Channels:
        """What C counts: the fourth dimension is time unless its unit or the intent denies it."""
        units = int(self.record["xyzt_units"]) & TIME_UNITS
        series = self.record["dim"][0] >= 4 and self.shape[0] == sizes(self.record)[3]
        if not series or units not in SECONDS or int(self.record["intent_code"]) in NOT_TIME:
            return Channels()
        step = float(self.record["pixdim"][4]) * SECONDS[units]
        return Channels("time", step if math.isfinite(step) and step > 0 else 0.0)

    def scrubbed(self) -> bytes:
        """The header without free text and without extensions, which may name the patient.

        ``vox_offset`` is set to what it is where no extensions follow.
        """
        fields = self.record.dtype.fields
        raw = bytearray(self.raw)
        for field in TEXT_FIELDS:
            if field in fields:
                kind, start = fields[field][:2]
                raw[start : start + kind.itemsize] = bytes(kind.itemsize)
        kind, start = fields["vox_offset"][:2]
        raw[start : start + kind.itemsize] = np.array(self._least_offset, kind).tobytes()
        return bytes(raw)


@lru_cache(maxsize=16)  # what is converted asks again for the header that it was opened with
def _checked(raw: bytes) -> NiftiHeader:
    header = NiftiHeader(raw)
    header._check()
    return header


def _version(start: bytes) -> tuple[Version, Literal["<", ">"]]:
    """Version and byte order, from ``sizeof_hdr``.

    Raises:
        FormatError: ``NOT_NIFTI``.
    """
    versions: dict[int, Version] = {348: 1, 540: 2}
    orders: dict[Literal["little", "big"], Literal["<", ">"]] = {"little": "<", "big": ">"}
    for name, order in orders.items():
        version = versions.get(int.from_bytes(start[:4], name))
        if version is not None:
            return version, order
    raise FormatError(
        f"a NIfTI file starts with the number 348 or 540, but this one with {start[:4].hex(' ')}: "
        "it has another format or is damaged; check its suffix, or copy it again",
        code="NOT_NIFTI",
    )
