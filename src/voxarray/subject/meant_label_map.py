"""Which label map of a subject is meant if nobody names one."""

from __future__ import annotations

from collections.abc import Collection

_DEFAULT = "label"


def meant_label_map(names: Collection[str]) -> str | None:
    """The name of the only label map, or of the one that is called ``"label"``; else None.

    Never the first of several: after `voxarray.infer`, that may be a prediction.

    Args:
        names: Of all label maps of a subject.
    """
    if _DEFAULT in names:
        return _DEFAULT
    return next(iter(names)) if len(names) == 1 else None
