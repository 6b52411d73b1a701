"""Files of an earlier export that lie among those of this one, but belong to no image of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from voxarray.cohort.exported_names import target_of
from voxarray.cohort.plan.item import Item
from voxarray.core.caller_warnings import warn_by_code
from voxarray.storage.remote.address import is_url


def warn_of_left_over(items: Sequence[Item], root: str, suffix: str) -> None:
    """Warn of files in the folders of exported subjects that belong to none of their images.

    For example, the file of a label map that was removed from its archive is still there, and a
    reader of the folder would take it for a current one.

    Args:
        items: The images that were exported.
        root: Folder of all subjects.
        suffix: Of their files.
    """
    files = _left_over(items, root, suffix)
    if not files:
        return
    others = len(files) - 1
    older = f"and {others} more are of an earlier export" if others else "is of an earlier export"
    names = (
        "images or label maps of these names were removed or renamed since, or were"
        if others
        else "image or label map of this name was removed or renamed since, or was"
    )
    cure = "Delete the files that you do not want" if others else "Delete it if you do not want it"
    warn_by_code(
        "LEFT_OVER",
        f"{files[0]} {older}: the cohort's {names} not chosen for this export. {cure}",
    )


def _left_over(items: Sequence[Item], root: str, suffix: str) -> list[str]:
    if is_url(root):
        return []
    names_by_folder: dict[str, set[str]] = {}
    failed_subjects = {item.subject for item in items if item.failure is not None}
    for item in items:
        if item.subject not in failed_subjects:  # else nobody knows what all its images are
            path = target_of(item.subject, item.image, root, suffix)
            names_by_folder.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))
    paths: list[str] = []
    for folder, names in names_by_folder.items():
        with suppress(OSError):
            listed = (name for name in os.listdir(folder) if name.endswith(suffix))
            paths += [
                os.path.join(folder, name)
                for name in listed
                if name not in names and not name.startswith(".")
            ]
    return sorted(paths)
