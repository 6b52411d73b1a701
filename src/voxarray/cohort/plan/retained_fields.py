"""Header fields that the user asked to keep, by name, though they may name a patient."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from voxarray.cohort.plan.names import shown
from voxarray.formats.dicom.detect import dicom_files, is_dicom

_NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


def kept_of(location: str, names: Sequence[str]) -> dict[str, Any]:
    """Values of the fields of these names that the input has.

    Of NIfTI they are names of the header such as ``descrip``; of DICOM keywords of the standard
    such as ``PatientAge`` or ``StudyDescription``, of its first file.
    """
    if not names:
        return {}
    found = _of_nifti(location, names)
    first = _dicom_file(location)
    return found if first is None else {**found, **_of_dicom(first, names)}


def _of_nifti(location: str, names: Sequence[str]) -> dict[str, Any]:
    wanted = [name for name in names if name in _NIFTI_TEXTS]
    if not wanted or not location.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
        return {}
    import nibabel

    header: Any = nibabel.load(location).header
    texts = {
        name: bytes(header[name]).rstrip(b"\0").decode("latin-1")
        for name in wanted
        if name in header
    }
    return {name: text for name, text in texts.items() if text}


def _dicom_file(location: str) -> str | None:
    if os.path.isdir(location):
        return next(iter(dicom_files(location)), None) if _holds_dicom(location) else None
    return location if is_dicom(location) else None


def _holds_dicom(folder: str) -> bool:
    return not os.path.exists(os.path.join(folder, "zarr.json"))


def _of_dicom(path: str, names: Sequence[str]) -> dict[str, Any]:
    from pydicom import dcmread
    from pydicom.datadict import tag_for_keyword

    wanted = [name for name in names if tag_for_keyword(name) is not None]
    data = dcmread(path, stop_before_pixels=True, specific_tags=list(wanted))
    return {name: shown(str(data[name].value)) for name in wanted if name in data}
