"""Label maps that are compared with themselves, which says nothing."""

from __future__ import annotations

from voxarray.core.caller_warnings import warn_by_code
from voxarray.image import Image


def is_same(prediction: Image, reference: Image) -> bool:
    """Whether two label maps are one, though not whether two files are alike."""
    if prediction.source is reference.source:
        return True
    paths = prediction.source.path, reference.source.path
    if None in paths or paths[0] != paths[1]:
        return False
    return bool(prediction.history == reference.history)


def warn_of_same(message: str) -> None:
    """Warn of label maps that are compared with themselves."""
    warn_by_code("SAME_LABELS", f"{message}. These scores compare a label map with itself")
