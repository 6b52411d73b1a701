"""Names that label maps of an archive cannot have, since the subject has images of these names."""

from __future__ import annotations

import os

from voxarray.cohort.catalogue import parquet
from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.remote.address import is_url


def require_free(archive: str, name: str) -> None:
    """Refuse a label map that is called like an image of the archive's subject in its cohort.

    The cohort could not open that subject: two of its images would have one name.

    Args:
        archive: Absolute path, or URL; what is in no cohort with a catalogue may have any name.
        name: Of the label map.

    Raises:
        ArchiveExistsError: If the subject has an archive of that name (``NAME_TAKEN``).
    """
    if is_url(archive):  # whose catalogue does not follow, as a warning says
        return
    folder, own = os.path.split(os.path.realpath(archive))
    root, subjects = os.path.split(folder)
    layout = CohortLayout(root)
    if subjects != "subjects" or not os.path.isfile(layout.catalogue):
        return
    try:
        rows = parquet.read(layout.catalogue)
    except (VoxarrayError, OSError):  # a warning says so when the catalogue cannot follow
        return
    rows = rows[rows["status"] == "done"]
    mine = rows["subject"][rows["archive"] == f"{subjects}/{own}"]
    same = rows[rows["subject"].isin(mine) & (rows["image"] == name)]
    for subject, other in zip(same["subject"], same["archive"], strict=True):
        raise ArchiveExistsError(
            f"the subject {subject!r} of the cohort {root} already has an image {name!r}, in "
            f"{other}: give the label map another name; with the same name, the cohort could not "
            "open the subject",
            code="NAME_TAKEN",
            path=archive,
        )
