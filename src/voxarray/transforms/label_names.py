"""Names and colours of labels after labels were replaced: no name goes to voxels of another label.

A label without a name may occur in the voxels or not, and only these can tell.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from voxarray.archive.source import ArchiveSource
from voxarray.core.exact_values import holds
from voxarray.counting.cells import COLUMNS
from voxarray.ops.labels import Remapped
from voxarray.ops.masks import AnyOf
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.value_counts import count_nonzero, count_values, is_countable

_VALUE = COLUMNS.index("value")


@dataclass(frozen=True, eq=False)
class NamedRemapped(Remapped):
    """Labels replaced by others, and their names with them.

    A name goes with its label, unless the new label has a name and stays: then that one is kept.
    A new label takes no name if labels of different names become one, or if voxels of a label
    without a name become or are the same.

    Attributes:
        moved: (old label, new label) of all labels that are replaced, here or elsewhere: outside
            of a mask, none is.
        masked: Whether labels also stay, outside of a mask.
        removing: Whether the new labels are a background, which takes no names.
        complete: Whether ``moved`` has all labels that occur. Names of others are dropped, since
            their number may now be that of another label.
    """

    moved: tuple[tuple[float, float], ...] = ()
    masked: bool = False
    removing: bool = False
    complete: bool = False

    # The voxels are read only if they decide, when somebody asks for the names.
    @cached_property
    def label_table(self) -> tuple[Any, ...]:
        moved = dict(self.moved)
        named = {
            label.value: label
            for label in self.base.label_table
            if not self.complete or label.value in moved
        }
        replaced: dict[float, set[float]] = {}
        for old, new in self.moved:
            if old != new:
                replaced.setdefault(new, set()).add(old)
        values = {moved.get(value, value) for value in named} | (
            set(named) if self.masked else set()
        )
        table = []
        for value in sorted(values):
            if not holds(np.dtype(np.int64), value):
                continue  # a fraction has no name
            stays, coming = moved.get(value, value) == value, replaced.get(value, set())
            if value in named and (stays or not coming):
                table.append(named[value])
                continue
            origins = coming | {value} if stays or self.masked else coming
            known = [named[origin] for origin in sorted(origins) if origin in named]
            alike = len({(one.name, one.colour) for one in known}) == 1
            if value == 0 or self.removing or not alike:
                continue
            if not self._occur(origins - named.keys()):
                table.append(replace(known[0], value=int(value)))
        return tuple(table)

    def _occur(self, labels: Collection[float]) -> bool:
        """Whether any of some labels is in the voxels of the base."""
        if self.complete:
            return not set(labels).isdisjoint(old for old, _ in self.moved)
        source = SlicedSource.of(self.base)
        stored = source.base.label_counts if isinstance(source.base, ArchiveSource) else None
        if stored is not None:  # of all of the archive, of which this may be a part
            labels = set(labels).intersection(np.unique(stored.table[:, _VALUE]).tolist())
        if not labels:
            return False
        if is_countable(source):
            return not set(labels).isdisjoint(count_values(source).values.tolist())
        # There may be millions of other labels, too many to be counted.
        return count_nonzero(AnyOf(source, tuple(sorted(labels)))) > 0
