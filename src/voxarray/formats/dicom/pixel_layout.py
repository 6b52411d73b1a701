"""How the pixels of one file lie in it (DICOM PS3.3, C.7.6.3, Image Pixel module)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import UNDEFINED, Elements, PixelElement

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
NATIVE = frozenset({EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE})
"""Transfer syntaxes whose pixels are not compressed."""

DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"})

_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"}
_GREYS = {"MONOCHROME1", "MONOCHROME2"}


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Shape, type and place of the pixels of a file.

    Attributes:
        element: Where they stand.
        syntax: UID of the transfer syntax.
        frames: Planes in the file.
        rows: Of a plane; the y axis of the image, H.
        columns: Of a plane; the x axis, W.
        samples: Per pixel; 3 for colours.
        planar: Whether each sample makes a plane of its own.
        allocated: Bits that a sample takes.
        stored: Bits of them that count, the lowest ones.
        signed: Whether samples are in two's complement.
        photometric: MONOCHROME1, MONOCHROME2, RGB or YBR_...
        across: Frames that stand side by side in the only plane of a mosaic; 1 where each has a
            plane of its own.
        down: Frames that stand there below one another.
    """

    element: PixelElement
    syntax: str
    frames: int
    rows: int
    columns: int
    samples: int
    planar: bool
    allocated: int
    stored: int
    signed: bool
    photometric: str
    across: int = 1
    down: int = 1

    @classmethod
    def of(cls, header: Elements, element: PixelElement, syntax: str, size: int) -> PixelLayout:
        """The layout that a header with pixels describes.

        Args:
            header: All elements of the file.
            element: Where its pixels stand.
            syntax: UID of its transfer syntax.
            size: Bytes in the file.

        Raises:
            UnsupportedError: For pixels that are no intensities (``PALETTE_COLOR``), or of a type
                that cannot be held (``UNSUPPORTED_DTYPE``).
            FormatError: For a description that contradicts itself (``BAD_DIMS``, ``BAD_BITS``).
            TruncatedError: If the file ends before its pixels do.
        """
        allocated = header.integer(tags.BITS_ALLOCATED, 0)
        stored = header.integer(tags.BITS_STORED, allocated)
        layout = cls(
            element,
            syntax,
            frames=header.integer(tags.FRAMES, 1) or 1,
            rows=header.integer(tags.ROWS, 0),
            columns=header.integer(tags.COLUMNS, 0),
            samples=header.integer(tags.SAMPLES, 1),
            planar=header.integer(tags.PLANAR, 0) == 1,
            allocated=allocated,
            stored=stored,
            signed=header.integer(tags.SIGNED, 0) == 1,
            photometric=header.text(tags.PHOTOMETRIC),
        )
        layout._check(header.integer(tags.HIGH_BIT, stored - 1))
        layout._check_length(size)
        return layout

    @property
    def is_native(self) -> bool:
        """Whether pixels are not compressed."""
        return self.syntax in NATIVE

    @property
    def is_raw(self) -> bool:
        """Whether pixels stand in the file as they are in an array: any row can be read alone."""
        # 8-bit samples in big-endian words come in swapped pairs (PS3.5, 8.1.1).
        swapped = self.syntax == EXPLICIT_BIG and self.allocated == 8 and self.element.vr != "OB"
        is_array = self.photometric in ("RGB", *_GREYS) and self.allocated >= 8
        return self.is_native and is_array and not swapped

    @property
    def is_bits(self) -> bool:
        """Whether pixels are single bits, uncompressed and without gaps: planes of segments."""
        # The bytes of big-endian words come in swapped pairs, which are left to the decoder.
        return self.is_native and self.allocated == 1 and self.syntax != EXPLICIT_BIG

    @property
    def is_tiled(self) -> bool:
        """Whether frames share the only plane."""
        return self.across * self.down > 1

    @property
    def dtype(self) -> np.dtype:
        """Type of a sample, in native byte order."""
        if self.element.tag != tags.PIXELS:
            return np.dtype(np.float32 if self.element.tag == tags.FLOAT_PIXELS else np.float64)
        size = max(1, self.allocated // 8)
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")

    @property
    def plane_bytes(self) -> int:
        """Bytes of a decoded plane."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize

    @property
    def native_bytes(self) -> int:
        """Bytes that all pixels take uncompressed."""
        bits = self.frames * self.rows * self.columns * self.samples * self.allocated
        if self.photometric == "YBR_FULL_422":  # two pixels share their colour
            bits = bits // 3 * 2
        return math.ceil(bits / 8)

    def _check(self, high_bit: int) -> None:
        if self.photometric == "PALETTE COLOR":
            raise UnsupportedError(
                "the pixels are indices into a colour table, not intensities: convert the file to "
                "RGB first (pydicom.pixels.apply_color_lut does)",
                code="PALETTE_COLOR",
            )
        if min(self.rows, self.columns, self.frames) < 1:
            raise FormatError(
                f"the header states {self.rows} rows, {self.columns} columns and {self.frames} "
                "frames: expected at least one of each; repair the header",
                code="BAD_DIMS",
            )
        if self.photometric not in (_GREYS if self.samples == 1 else _COLOURS) or (
            self.samples not in (1, 3)
        ):
            raise UnsupportedError(
                f"{self.samples} samples per pixel do not fit the photometric interpretation: "
                "expected 1 sample with MONOCHROME1 or MONOCHROME2, or 3 with RGB or YBR_...; "
                "convert the file first",
                code="UNSUPPORTED_DTYPE",
            )
        self._check_bits(high_bit)

    def _check_bits(self, high_bit: int) -> None:
        if self.element.tag != tags.PIXELS:
            expected = 32 if self.element.tag == tags.FLOAT_PIXELS else 64
            if self.allocated != expected:
                raise FormatError(
                    f"the header states floating-point pixels of {self.allocated} bits: expected "
                    f"{expected}; repair it",
                    code="BAD_BITS",
                )
            return
        if self.allocated not in (1, 8, 16, 32, 64):
            raise UnsupportedError(
                f"the header states samples of {self.allocated} bits: expected 1, 8, 16, 32 or "
                "64; convert the file first",
                code="UNSUPPORTED_DTYPE",
            )
        if not 1 <= self.stored <= self.allocated or high_bit != self.stored - 1:
            raise FormatError(
                f"{self.stored} bits are stored in {self.allocated}, the highest being bit "
                f"{high_bit}: expected the lowest bits of each sample; convert the file first",
                code="BAD_BITS",
            )

    def _check_length(self, size: int) -> None:
        if not self.is_native:
            return
        expected = self.native_bytes
        available = min(self.element.length, size - self.element.offset)
        if self.element.length == UNDEFINED or available < expected:
            raise TruncatedError(
                f"expected {expected} bytes of pixels ({self.frames} x {self.rows} x "
                f"{self.columns} x {self.samples} samples of {self.allocated} bits), got "
                f"{available}: copy or export the file again"
            )
