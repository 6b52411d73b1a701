"""Which packages decode which compressed transfer syntax.

pydicom decodes run-length encoding by itself and hands JPEG to packages that it finds. All that are
named here have permissive licences; the only one for the old lossless JPEG besides GDCM,
``pylibjpeg-libjpeg``, has the GPL, so it is named as a choice and never required.
"""

from __future__ import annotations

from typing import Any

from voxarray.errors import UnsupportedError

_JPEG_2000 = "pylibjpeg-openjpeg (voxarray[dicom])"
_JPEG_LS = "pyjpegls (voxarray[dicom])"
_OLD_JPEG = "python-gdcm, or pylibjpeg-libjpeg, whose licence is the GPL"

_PACKAGES = {
    "1.2.840.10008.1.2.4.50": f"Pillow (voxarray[plot]), {_OLD_JPEG}",
    "1.2.840.10008.1.2.4.51": _OLD_JPEG,
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


def decoder_of(syntax: str) -> Any:
    """The decoder that pydicom has for a transfer syntax.

    Raises:
        UnsupportedError: If nothing decodes it, or what does is not installed (``NO_CODEC``).
    """
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedError(
            f"pydicom has no decoder for the transfer syntax {_printable(syntax)}: convert the "
            "files to Explicit VR Little Endian first",
            code="NO_CODEC",
        ) from None
    if not decoder.is_available:
        package = _PACKAGES.get(syntax, "a plug-in for pydicom")
        raise UnsupportedError(
            f"nothing that is installed decodes {decoder.UID.name} ({syntax}): pip install "
            f"{package}",
            code="NO_CODEC",
        )
    return decoder


def _printable(syntax: str) -> str:
    """A UID, unless somebody wrote something else where it should be."""
    return syntax if syntax.replace(".", "").isdigit() else "(not a UID)"
