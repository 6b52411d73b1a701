"""Lossless JPEG through SimpleITK, whose GDCM decodes what nothing permissive for pydicom does.

SimpleITK reads files, and scales what it reads. So each frame is wrapped in a small file of its own
that says how its pixels are stored and nothing else.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats.dicom.pixel_layout import PixelLayout

LOSSLESS_JPEG = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_UID = "1.2.3"


def is_decoded_by_itk(layout: PixelLayout) -> bool:
    """Whether SimpleITK gives the stored numbers: other colours would come converted to RGB."""
    is_plain = layout.samples == 1 or layout.photometric == "RGB"
    return layout.syntax in LOSSLESS_JPEG and is_plain


def decode(file: BinaryIO, layout: PixelLayout, frame: int) -> NDArray:
    """The pixels of one frame of compressed ones, all of a plane of the file, as they are stored.

    Args:
        file: At the beginning of the pixels.
        layout: How they lie.
        frame: Its number.

    Raises:
        FormatError: Another number or type of pixels than the header states
            (``BAD_PIXEL_DATA``).
    """
    import tempfile  # loads what compresses and copies: 3 ms

    import SimpleITK

    rows, columns = layout.rows * layout.down, layout.columns * layout.across
    # Tiles of a mosaic are frames to whoever reads it, and one frame of the file.
    wrapped = _wrapped(file, layout, frame, rows, columns)
    descriptor, path = tempfile.mkstemp(suffix=".dcm")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(wrapped)
        image = SimpleITK.ReadImage(path, imageIO="GDCMImageIO")
    finally:
        os.unlink(path)
    pixels = SimpleITK.GetArrayFromImage(image)
    if pixels.size != rows * columns * layout.samples or pixels.dtype != layout.dtype:
        raise FormatError(
            f"the pixels of frame {frame} (counted from 0) decode to {pixels.size} numbers of "
            f"type {pixels.dtype}, but the header states {rows} x {columns} x {layout.samples} of "
            f"type {layout.dtype}: the file is damaged, copy or export it again",
            code="BAD_PIXEL_DATA",
        )
    result: NDArray = np.asarray(pixels)
    return result


def _wrapped(file: BinaryIO, layout: PixelLayout, frame: int, rows: int, columns: int) -> bytes:
    """A file of one frame."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, get_frame

    frames = 1 if layout.is_tiled else layout.frames
    compressed = get_frame(file, frame, number_of_frames=frames)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = layout.syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = _SECONDARY_CAPTURE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = _UID
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = _UID
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = layout.samples
    # Inverted or not is for whoever shows it, and SimpleITK leaves it alone, too.
    dataset.PhotometricInterpretation = layout.photometric
    if layout.samples > 1:
        dataset.PlanarConfiguration = int(layout.planar)
    dataset.BitsAllocated, dataset.BitsStored = layout.allocated, layout.stored
    dataset.HighBit, dataset.PixelRepresentation = layout.stored - 1, int(layout.signed)
    dataset.PixelData = encapsulate([compressed])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
