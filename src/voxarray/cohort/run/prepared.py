"""An image that is open, and what its archive will say of it: what is known before voxels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.archive.source import remark_left_labels
from voxarray.cohort.catalogue.entry import facts_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opening import Opened, Opener


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that was opened to be converted.

    Attributes:
        opened: The image and its label maps.
        facts: What its manifest will say.
        seconds: Wall time that this took, if others have not measured it.
        remarks: Warnings that were given meanwhile, if others have not heard them.
    """

    opened: Opened
    facts: Mapping[str, Any]
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()


def prepare(opener: Opener, item: Item) -> Prepared:
    """Open an image and its label maps.

    Raises:
        VoxarrayError: As `Opener.open`.
    """
    opened = opener.open(item)
    if not opened.layers:
        remark_left_labels(opened.source)
    return Prepared(opened, facts_of(item, opened))
