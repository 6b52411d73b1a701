"""VTK's legacy format (``.vtk``), structured points only: lines of text, and big-endian voxels.

Format: https://docs.vtk.org/en/latest/vtk_file_formats/vtk_legacy_file_format.html. It holds
spacing and origin but no directions; positions are taken as LPS+ mm, as ITK does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels.decoded_file import DecodedFile
from voxarray.formats._voxels.decoders import Text
from voxarray.formats._voxels.file_array import (
    COMPONENTS,
    VOLUMES,
    FileArray,
    PlainFile,
    StoredVoxels,
)
from voxarray.formats._voxels.header_text import (
    beginning,
    checked_sizes,
    checked_spacing,
    described,
    following,
    real_numbers,
    whole_numbers,
)
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Shape4
from voxarray.storage.file_identity import FileIdentity

_LARGEST_HEADER = 64 << 10

_LARGEST_LINE = 512

_OTHER_ARRAYS = ("color_scalars", "tensors", "normals", "texture_coordinates", "field")
"""Forms of arrays that are no voxels here."""

_ARRAYS = {"scalars", "vectors", *_OTHER_ARRAYS}

DTYPES = {
    "char": "i1",
    "signed_char": "i1",
    "unsigned_char": "u1",
    "short": "i2",
    "unsigned_short": "u2",
    "int": "i4",
    "unsigned_int": "u4",
    "long": "i8",  # as ITK writes it on all but Windows
    "unsigned_long": "u8",
    "vtktypeint64": "i8",
    "vtktypeuint64": "u8",
    "float": "f4",
    "double": "f8",
}


@dataclass(frozen=True)
class VtkHeader:
    """Lines of the header by their first word, in lower case.

    Attributes:
        lines: The other words of each line.
        is_binary: Whether voxels are numbers as memory holds them, not text.
        end: Bytes of the header, where the voxels start.
    """

    lines: dict[str, str]
    is_binary: bool
    end: int

    @classmethod
    def parse(cls, start: bytes) -> VtkHeader:
        """Header at the start of a file.

        Raises:
            FormatError: ``NOT_VTK``, ``BAD_HEADER``.
            UnsupportedError: Another data set than structured points (``NOT_AN_IMAGE``).
            TruncatedError: The header ends before the voxels are announced.
        """
        if not start.lower().startswith(b"# vtk datafile"):
            raise FormatError(
                f"a VTK file starts with '# vtk DataFile', but this one with {start[:14]!r}: it "
                "has another format or is damaged; check its suffix, or copy it again",
                code="NOT_VTK",
            )
        rows = start.splitlines(keepends=True)
        end, lines = sum(map(len, rows[:2])), dict[str, str]()
        for row in rows[2:]:
            end += len(row)
            # Names of arrays may be in any code page: this one decodes whatever bytes there are.
            keyword, _, rest = row.decode("latin-1").strip().partition(" ")
            key = keyword.lower()
            if key in lines:
                raise FormatError(
                    f"the header has two lines {keyword!r}: remove one of them", code="BAD_HEADER"
                )
            if key:
                lines[key] = rest.strip()
            if key == "lookup_table" or key == "vectors":
                return cls(lines, _is_binary(lines), end)
            if key == "dataset" and lines[key].lower() != "structured_points":
                raise UnsupportedError(
                    f"the data set is {lines[key]}, not an image of structured points: resample "
                    "it to STRUCTURED_POINTS first",
                    code="NOT_AN_IMAGE",
                )
        other = next((key for key in _OTHER_ARRAYS if key in lines), None)
        if other is not None:
            raise UnsupportedError(
                f"the voxels are given as {other.upper()}: expected SCALARS with a LOOKUP_TABLE, "
                "or VECTORS; convert the array in the program that wrote it",
                code="NOT_AN_IMAGE",
            )
        raise TruncatedError(
            "the header ends before it announces any scalars with a lookup table: the file was "
            "cut short, copy or download it again"
        )

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D).

        Raises:
            FormatError: ``BAD_DIMS``.
        """
        sizes = checked_sizes(whole_numbers(self._required("dimensions"), "DIMENSIONS"), 3)
        w, h, d = (*sizes, 1, 1)[:3]
        points = whole_numbers(self._required("point_data"), "POINT_DATA")
        if points != [w * h * d]:
            raise FormatError(
                f"{points} points do not make {w} x {h} x {d}: repair the header", code="BAD_DIMS"
            )
        return self._voxels[1], w, h, d

    @property
    def dtype(self) -> np.dtype:
        """Type of a number, in the file's byte order.

        Raises:
            UnsupportedError: ``UNSUPPORTED_DTYPE``.
        """
        name = self._voxels[0].lower()
        if name not in DTYPES:
            raise UnsupportedError(
                f"voxels of VTK type {name!r} cannot be read: known are {', '.join(DTYPES)}; "
                "convert the file to one of them",
                code="UNSUPPORTED_DTYPE",
            )
        return np.dtype(">" + DTYPES[name])

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm.

        Raises:
            FormatError: ``BAD_SPACING``, ``BAD_HEADER``.
        """
        # Early files call it the aspect ratio; VTK and ITK take either.
        key = "spacing" if "spacing" in self.lines else "aspect_ratio"
        spacing = checked_spacing(_three(self.lines.get(key, "1 1 1"), key))
        origin = _three(self.lines.get("origin", "0 0 0"), "ORIGIN")
        return ras_from_itk(spacing, origin, np.eye(3).ravel().tolist())

    @property
    def _voxels(self) -> tuple[str, int]:
        """Name of the type, and numbers for each voxel."""
        if "vectors" in self.lines:
            words, default = self.lines["vectors"].split(), 3
        else:
            words, default = self._required("scalars").split(), 1
        if len(words) == 3 and default == 1:
            (default,) = checked_sizes(whole_numbers(words[2], "components"), 1)
        elif len(words) != 2:
            raise FormatError(
                f"the line that announces the voxels has {words}: expected a name, a type and, "
                "for scalars, optionally a number of components; repair the header",
                code="BAD_HEADER",
            )
        return words[1], default

    def _required(self, key: str) -> str:
        if key not in self.lines:
            raise FormatError(
                f"the header has no line {key.upper()}: repair the header", code="BAD_HEADER"
            )
        return self.lines[key]


def open_vtk(path: str | os.PathLike[str]) -> FileArray:
    """An image in VTK's legacy format; only the header is read.

    Raises:
        MissingFileError: There is no such file.
        FormatError: As of `VtkHeader`; ``DIMS_EXCEED_FILE``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: No image, or of a type that is not read.
    """
    return described(path, _open)


def _open(identity: FileIdentity) -> tuple[FileArray, list[str]]:
    header = VtkHeader.parse(beginning(identity, _LARGEST_HEADER))
    axes = COMPONENTS if header.shape[0] > 1 else VOLUMES
    shape, dtype, affine = header.shape, header.dtype, header.affine
    if header.is_binary:
        stored = StoredVoxels(shape, dtype, axes, header.end)
        plain = PlainFile(identity=identity, stored=stored, affine=affine)
        return plain, _remarks(identity, stored.offset + stored.nbytes)
    # Numbers in text have no byte order; those in memory have this machine's.
    stored = StoredVoxels(shape, dtype.newbyteorder("="), axes)
    decoder = Text(header.end)
    return DecodedFile(identity=identity, stored=stored, affine=affine, decoder=decoder), []


def _remarks(identity: FileIdentity, end: int) -> list[str]:
    """What follows the voxels that end there, if it is another array."""
    line = following(identity, end, _LARGEST_LINE)
    words = line.decode("latin-1").split(maxsplit=2)
    if not words or words[0].lower() not in _ARRAYS:
        return []
    return [
        f"OTHER_ARRAYS: the file holds several arrays, and the first one is the image; {words[0]} "
        f"{' '.join(words[1:2])!r} and what follows are left out, as ITK does"
    ]


def _is_binary(lines: dict[str, str]) -> bool:
    if ("binary" in lines) == ("ascii" in lines):
        raise FormatError(
            "the header says neither BINARY nor ASCII, or both: repair the header",
            code="BAD_HEADER",
        )
    return "binary" in lines


def _three(text: str, what: str) -> list[float]:
    numbers = real_numbers(text, what)
    if len(numbers) != 3:
        raise FormatError(
            f"{what} has {len(numbers)} numbers: expected 3; repair the header", code="BAD_HEADER"
        )
    return numbers
