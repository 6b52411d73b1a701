"""Header fields that the user asked to keep, by name, though they may name a patient."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from voxarray.cohort.plan.archive_names import shown
from voxarray.core.errors import FormatError, VoxarrayWarning
from voxarray.formats.dicom.detect import dicom_files, is_dicom
from voxarray.formats.nifti.read import open_nifti
from voxarray.formats.nifti.read_pair import header_of_pair
from voxarray.formats.suffixes import PAIR_SUFFIXES, compressed
from voxarray.nifti_header.header import NiftiHeader

_NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")

_NIFTI = (".nii", *compressed(".nii"))

_LONGEST = 64 << 10
"""Bytes of a field of DICOM; values of texts have at most 10,240 characters (PS3.5, 6.2)."""


def kept_of(location: str, names: Sequence[str]) -> dict[str, Any]:
    """Values of the named fields that an input has.

    NIfTI has fields of the header, such as ``descrip``. For DICOM the names are keywords of the
    standard, such as ``PatientAge`` or ``StudyDescription``; the first file is read.
    """
    if not names:
        return {}
    fields = _of_nifti(location, names)
    dicom = _dicom_file(location)
    return fields if dicom is None else {**fields, **_of_dicom(dicom, names)}


def _of_nifti(location: str, names: Sequence[str]) -> dict[str, Any]:
    known = [name for name in names if name in _NIFTI_TEXTS]
    if not known or not location.lower().endswith((*_NIFTI, *PAIR_SUFFIXES)):
        return {}
    header = _nifti_header(location)
    if header is None:
        return {}
    record = header.record
    texts = {
        name: bytes(record[name]).rstrip(b"\0").decode("latin-1")
        for name in known
        if name in (record.dtype.names or ())
    }
    return {name: text for name, text in texts.items() if text}


def _nifti_header(location: str) -> NiftiHeader | None:
    """The header, read by our reader, which limits its size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)  # given when the image was opened
        if location.lower().endswith(_NIFTI):
            return open_nifti(location).header
        return header_of_pair(location)


def _dicom_file(location: str) -> str | None:
    if os.path.isdir(location):
        return next(iter(dicom_files(location)), None) if _holds_dicom(location) else None
    return location if is_dicom(location) else None


def _holds_dicom(folder: str) -> bool:
    return not os.path.exists(os.path.join(folder, "zarr.json"))


def _of_dicom(path: str, names: Sequence[str]) -> dict[str, Any]:
    from pydicom import dcmread
    from pydicom.datadict import tag_for_keyword

    keywords = [name for name in names if tag_for_keyword(name) is not None]
    # Longer values are not read until they are used, and here they are refused instead.
    data = dcmread(path, stop_before_pixels=True, specific_tags=list(keywords), defer_size=_LONGEST)
    present = [name for name in keywords if name in data]
    for name in present:
        raw = data.get_item(name, keep_deferred=True)
        if getattr(raw, "value", raw) is None and getattr(raw, "length", 0) > _LONGEST:
            raise FormatError(
                f"{name} has {raw.length} bytes, but a field of more than {_LONGEST} is not kept: "
                f"leave out --keep-metadata {name}",
                code="FIELD_TOO_LONG",
                path=path,
            )
    return {name: shown(str(data[name].value)) for name in present}
