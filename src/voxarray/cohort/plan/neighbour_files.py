"""Files that are not converted because of another one: a DICOM image needs all of its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from voxarray.cohort.plan.item import Failure
from voxarray.formats.dicom.detect import is_dicom


def with_neighbours(
    failure: Failure,
    error: BaseException,
    places: Mapping[str, str],
    *,
    of_series: bool = False,
) -> Failure:
    """The failure, with the number of files that are not converted because one of them is bad.

    Only that one is named, and a folder may hold several series.

    Args:
        failure: Of the image, or of all images in a folder.
        error: What failed, with the path of the file.
        places: Locations of the inputs.
        of_series: Whether other series of the folder may be converted.
    """
    path = getattr(error, "path", None) or ""
    folder, name = os.path.split(path)
    if folder not in places or os.path.isdir(path):
        return failure
    try:
        others = [one for one in os.listdir(folder) if one != name and not one.startswith(".")]
    except OSError:
        return failure
    count = sum(is_dicom(os.path.join(folder, other)) for other in others)
    if not count:
        return failure
    if of_series:
        told = "The other DICOM files of its series were not converted, either"
    elif count == 1:
        told = "The other DICOM file of this folder was not converted, either"
    else:
        told = f"The other {count} DICOM files of this folder were not converted, either"
    return replace(failure, message=f"{failure.message.rstrip('.')}. {told}")
