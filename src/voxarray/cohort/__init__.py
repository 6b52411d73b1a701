"""Cohorts: many images into one archive of archives, and what can be done with it.

On disk::

    archive/
      plan.json              what was asked for: inputs, grids, projected memory; frozen, sealed
      subjects/<slug>.ome.zarr   one archive per image, with its label maps; published by a rename
      staging/               archives that grow; readers never look here
      journal/<host>-<pid>-<n>.jsonl   the log of each image, a line per event: begun, converted
                             or failed, with seconds, memory, warnings; one writer per file, synced
      catalogue.parquet      a row per image; made again from the archives at any time
      report.parquet, report.txt   what failed or is missing: code, message, file

The archives are the truth: whatever else is lost or old,
`voxarray.cohort.catalogue.finalise.finalise` makes it again.

`voxarray.cohort.run.build.build` converts, `Cohort` opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxarray.cohort.cohort import Cohort

__all__ = ["Cohort"]


def __getattr__(name: str) -> Any:
    """Import `Cohort` on first use (PEP 562): a worker that converts needs no pandas."""
    if name not in __all__:
        raise AttributeError(f"module 'voxarray.cohort' has no attribute {name!r}")
    from voxarray.cohort.cohort import Cohort

    return Cohort
