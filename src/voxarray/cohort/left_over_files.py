"""Files of an earlier export that lie among those of this one, and are of none of its images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from voxarray.cohort.exported_names import target_of
from voxarray.cohort.plan.item import Item
from voxarray.core.caller_warnings import warn_by_code
from voxarray.storage.remote.address import is_url


def warn_of_left_over(items: Sequence[Item], root: str, suffix: str) -> None:
    """Warn of files in the folders of exported subjects that no image of them has become.

    A label map that was removed from its archive stays where it was exported to, and whoever reads
    the folder takes it for one of now.

    Args:
        items: The images that were exported.
        root: Folder of all subjects.
        suffix: Of their files.
    """
    found = _left_over(items, root, suffix)
    if not found:
        return
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    warn_by_code(
        "LEFT_OVER",
        f"{found[0]}{more} is an older file; this export wrote no image of that name, since its "
        "image or label map was removed, renamed or not chosen. Delete the files that you do not "
        "want",
    )


def _left_over(items: Sequence[Item], root: str, suffix: str) -> list[str]:
    if is_url(root):
        return []
    own: dict[str, set[str]] = {}
    unsure = {item.subject for item in items if item.failure is not None}
    for item in items:
        if item.subject not in unsure:  # else nobody knows what all its images are
            path = target_of(item.subject, item.image, root, suffix)
            own.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))
    found: list[str] = []
    for folder, names in own.items():
        with suppress(OSError):
            there = (name for name in os.listdir(folder) if name.endswith(suffix))
            found += [
                os.path.join(folder, name)
                for name in there
                if name not in names and not name.startswith(".")
            ]
    return sorted(found)
