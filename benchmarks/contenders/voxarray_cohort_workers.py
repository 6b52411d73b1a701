"""A cohort, converted by two worker processes, whose start is counted."""

from __future__ import annotations

import voxarray_cohort


def run(source: str, destination: str) -> None:
    voxarray_cohort.run(source, destination, workers=2)
