"""Whether a path that a command was given is a cohort, or an image."""

from __future__ import annotations

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import UnsupportedError
from voxarray.formats.registry import format_of, is_image_folder


def is_cohort(path: str) -> bool:
    """Whether a cohort was planned or made there.

    Args:
        path: Folder, file or URL.
    """
    if format_of(path) is not None or is_image_folder(path):
        return False
    try:
        return CohortLayout.of(path).is_cohort()
    except UnsupportedError:  # a URL from which is only read
        return False
