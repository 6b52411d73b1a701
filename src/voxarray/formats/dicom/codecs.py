"""Which packages decode which compressed transfer syntax.

pydicom decodes run-length encoding by itself and hands JPEG to packages that it finds. All that are
named here have permissive licences; the only one for the old lossless JPEG besides GDCM,
``pylibjpeg-libjpeg``, has the GPL, so it is named as a choice and never required. SimpleITK, which
holds GDCM, decodes lossless JPEG where pydicom finds nothing.
"""

from __future__ import annotations

import re
from typing import Any

from voxarray.core.errors import UnsupportedError
from voxarray.formats.dicom.itk_decoder import is_decoded_by_itk
from voxarray.formats.dicom.pixel_layout import PixelLayout

_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2,31}")
"""PS3.5, 9.1."""

_JPEG_2000 = "pylibjpeg-openjpeg (voxarray[dicom])"
_JPEG_LS = "pyjpegls (voxarray[dicom])"
_OLD_JPEG = "python-gdcm, or pylibjpeg-libjpeg, whose licence is the GPL"

_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"

_PACKAGES = {
    "1.2.840.10008.1.2.4.50": f"Pillow (voxarray[plot]), {_OLD_JPEG}",
    _JPEG_EXTENDED: _OLD_JPEG,
    "1.2.840.10008.1.2.4.57": _OLD_JPEG,
    "1.2.840.10008.1.2.4.70": _OLD_JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _JPEG_2000,
    "1.2.840.10008.1.2.4.202": _JPEG_2000,
    "1.2.840.10008.1.2.4.203": _JPEG_2000,
}


def decoder_of(layout: PixelLayout) -> Any:
    """The decoder that pydicom has for pixels; None where SimpleITK decodes them.

    Args:
        layout: Of the pixels.

    Raises:
        UnsupportedError: If nothing decodes it, or what does is not installed (``NO_CODEC``).
    """
    from pydicom.pixels import get_decoder

    syntax, bits = layout.syntax, layout.stored
    is_uid = _UID.fullmatch(syntax) is not None
    try:
        # What is no UID would be quoted in a warning, and it may be anything.
        decoder = get_decoder(syntax) if is_uid else None
    except NotImplementedError:
        decoder = None
    if decoder is None:
        raise UnsupportedError(
            f"pydicom has no decoder for the transfer syntax {syntax if is_uid else '(no UID)'}: "
            "convert the files to Explicit VR Little Endian first",
            code="NO_CODEC",
        )
    # Pillow decodes the 8-bit half of this one only, and pydicom learns it too late.
    lacking = syntax == _JPEG_EXTENDED and bits > 8 and decoder.available_plugins == ("pillow",)
    if not decoder.is_available and is_decoded_by_itk(layout):
        return None
    if lacking or not decoder.is_available:
        package = _PACKAGES.get(syntax, "a plug-in for pydicom")
        raise UnsupportedError(
            f"no installed package decodes {decoder.UID.name} ({syntax}). Install one with pip: "
            f"{package}",
            code="NO_CODEC",
        )
    return decoder
