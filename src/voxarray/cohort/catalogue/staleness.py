"""Whether a catalogue agrees with the archives in its folder.

The catalogue answers all questions about a cohort: its subjects, queries, exports. It is updated by
a run, by `finalise`, and when label maps come or go; not by a part of a plan that is run after
`finalise`, nor when archives are copied or deleted by hand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.archive.problems import Problem
from voxarray.cohort.catalogue.entry import Entry

_Facts = tuple[frozenset[str], int, float | None, float | None]
"""Labels, bytes, smallest and largest value: they differ if an archive was replaced."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The archives in a catalogue.

    Attributes:
        facts: Facts of the archives with the status ``done``, by file name.
    """

    facts: Mapping[str, _Facts]

    @classmethod
    def of(cls, rows: Any) -> Listing:
        """The archives in a catalogue, a `pandas.DataFrame`."""
        done = rows[rows["status"] == "done"]
        columns = (done[name] for name in ("archive", "labels", "bytes", "minimum", "maximum"))
        return cls(
            {
                os.path.basename(archive): _facts(labels, size, low, high)
                for archive, labels, size, low, high in zip(*columns, strict=True)
            }
        )

    def has(self, name: str, entry: Entry) -> bool:
        """Whether it lists an archive of this name with the facts of its manifest."""
        facts = _facts(entry.labels, entry.bytes, entry.minimum, entry.maximum)
        return self.facts.get(name) == facts

    def others(self, names: Iterable[str]) -> set[str]:
        """Names of the archives that it lists, except the given ones."""
        return set(self.facts).difference(names)


def stale(names: Collection[str]) -> Problem:
    """The problem of a catalogue that does not agree with some archives."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Problem(
        "STALE_CATALOGUE",
        "catalogue.parquet",
        f"does not agree with the folder about {min(names)}{more}: queries, exports and training "
        "would miss archives, or take one for another. Run voxarray finalise",
    )


def _facts(labels: Iterable[str], size: int, low: float | None, high: float | None) -> _Facts:
    return frozenset(labels), int(size), _number(low), _number(high)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
