"""One DICOM file as far as its header goes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from voxarray.core import portable
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import ElementParser, Elements
from voxarray.formats.dicom.encapsulated import require_whole
from voxarray.formats.dicom.mosaic import Mosaic
from voxarray.formats.dicom.pixel_layout import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, PixelLayout
from voxarray.formats.dicom.tile_grid import TileGrid
from voxarray.storage.file_identity import FileIdentity

PREAMBLE = 128
MAGIC = b"DICM"


@dataclass(frozen=True, slots=True)
class Header:
    """What is kept of a file's header.

    Attributes:
        identity: The file, as it was when its header was read.
        elements: Values by tag.
        layout: How its pixels lie; None if it has none.
        mosaic: What is said of the tiles, if its plane is a mosaic, or what is not said.
    """

    identity: FileIdentity
    elements: Elements
    layout: PixelLayout | None
    mosaic: Mosaic | TileGrid | UnsupportedError | None = None

    @property
    def series(self) -> str:
        """Series Instance UID; empty if there is none."""
        return self.elements.text(tags.SERIES_INSTANCE)

    @property
    def number(self) -> int:
        """Instance Number; -1 if there is none."""
        return self.elements.integer(tags.INSTANCE_NUMBER, -1)


def read_header(path: str) -> Header:
    """Read a file up to its pixels.

    Raises:
        MissingFileError: If it is not there.
        FormatError: If it is not DICOM (``NOT_DICOM``), or its header is damaged.
        TruncatedError: If it ends before its header or its pixels do.
        UnsupportedError: For pixels that cannot be held, and for deflated files (``DEFLATED``).
    """
    identity = FileIdentity.of(path)
    fd = identity.open()
    try:
        return _read(fd, identity)
    except VoxarrayError as error:
        error.path = error.path or path
        raise
    finally:
        os.close(fd)


def _read(fd: int, identity: FileIdentity) -> Header:
    if portable.pread(fd, 4, PREAMBLE) != MAGIC:
        raise FormatError(
            f"{os.path.basename(identity.path)} is not a DICOM file: byte {PREAMBLE} does not "
            f"begin with {MAGIC.decode()}; a file without that prefix can be given one by "
            "pydicom.dcmread(path, force=True).save_as(...)",
            code="NOT_DICOM",
        )
    start, syntax = _file_meta(fd, identity.size)
    if syntax in DEFLATED:
        raise UnsupportedError(
            "the file is deflated as a whole, so no part of it can be read alone: convert it to "
            "Explicit VR Little Endian first",
            code="DEFLATED",
        )
    parser = ElementParser(fd, identity.size, little=syntax != EXPLICIT_BIG)
    elements = parser.parse(start, identity.size, explicit=parser.is_explicit(start))
    layout: PixelLayout | None = None
    mosaic: Mosaic | TileGrid | UnsupportedError | None = None
    if elements.pixels is not None:
        layout = PixelLayout.of(elements, elements.pixels, syntax, identity.size)
        if not layout.is_native:
            require_whole(fd, identity.size, elements.pixels)
        try:
            mosaic = TileGrid.of(elements, layout) or Mosaic.of(elements, layout)
        except UnsupportedError as error:  # matters to whoever wants its series, and not before
            mosaic = error
        if isinstance(mosaic, (Mosaic, TileGrid)):
            layout = mosaic.layout(layout)
    elements.values.pop(tags.SIEMENS_CSA, None)  # kilobytes in every file, and full of names
    return Header(identity, elements, layout, mosaic)


def _file_meta(fd: int, size: int) -> tuple[int, str]:
    """Where the data set begins, and its transfer syntax (PS3.10, 7.1)."""
    parser = ElementParser(fd, size)
    position = start = PREAMBLE + len(MAGIC)
    # The group length may be absent or wrong: the group ends where another begins.
    for end, group in parser.groups(start):
        if group != 2:
            break
        position = end
    meta = parser.parse(start, position, explicit=True)
    return position, meta.text(tags.TRANSFER_SYNTAX) or IMPLICIT_LITTLE
