"""An open image with the facts for its archive, before voxels are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.archive.source import remark_left_labels
from voxarray.cohort.catalogue.entry import facts_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opened_inputs import Opened, Opener


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that was opened to be converted.

    Attributes:
        opened: The image and its label maps.
        facts: Facts for its manifest.
        seconds: Wall time of opening, if it was opened ahead; else it is measured with the rest.
        remarks: Warnings of opening, if it was opened ahead; else they are collected with the rest.
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
