"""Telling torch's loaders of images as soon as somebody uses both; torch is not imported for it."""

from __future__ import annotations

import sys

_TOLD: set[type] = set()


def register_collation(kind: type) -> None:
    """Make `torch.utils.data.default_collate` take a kind of images or subjects, if torch is here.

    Args:
        kind: Class that has to be known; its subclasses are then known, too.
    """
    if kind not in _TOLD and "torch.utils.data" in sys.modules:
        from voxarray.tensors.collate import register

        register(kind)
        _TOLD.add(kind)
