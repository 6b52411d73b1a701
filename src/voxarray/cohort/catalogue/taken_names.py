"""Names that a label map cannot have, since the subject has an image of this name."""

from __future__ import annotations

import os

from voxarray.cohort.catalogue import parquet
from voxarray.cohort.discover.input import SUBJECT_KEY
from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.small_files import is_file, real_path


def require_free(archive: str, name: str) -> None:
    """Refuse a label map that has the name of an image of the same subject in the cohort.

    The cohort could not open that subject, since two of its images would have one name.

    Args:
        archive: Absolute path, or URL; outside of cohorts with a catalogue, any name is allowed.
        name: Of the label map.

    Raises:
        ArchiveExistsError: If the subject has an archive of that name, or the name is reserved for
            that of the subject (``NAME_TAKEN``).
    """
    layout = CohortLayout.around(real_path(archive))
    if layout is None:
        return
    try:
        if not is_file(layout.catalogue):
            return
        rows = parquet.read(layout.catalogue)
    except (VoxarrayError, OSError):  # updating the catalogue will fail, and warn of that
        return
    root, file_name = layout.root, os.path.basename(real_path(archive))
    rows = rows[rows["status"] == "done"]
    own_subject = rows["subject"][rows["archive"] == f"subjects/{file_name}"]
    namesakes = rows[rows["subject"].isin(own_subject) & (rows["image"] == name)]
    if name == SUBJECT_KEY and len(own_subject):
        raise ArchiveExistsError(
            f"a label map in the cohort {root} cannot be called {name!r}. That name is reserved: "
            f"subject[{name!r}] is the name of the subject. Give the label map another name",
            code="NAME_TAKEN",
            path=archive,
        )
    for subject, other in zip(namesakes["subject"], namesakes["archive"], strict=True):
        raise ArchiveExistsError(
            f"the subject {subject!r} of the cohort {root} already has an image {name!r}, in "
            f"{other}: give the label map another name; with the same name, the cohort could not "
            "open the subject",
            code="NAME_TAKEN",
            path=archive,
        )
