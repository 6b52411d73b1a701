"""Names of types of voxels: numpy puts them together anew, in Python, whenever it is asked."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def dtype_name(dtype: np.dtype) -> str:
    """``dtype.name``, for one type after another of a cohort that has few."""
    return dtype.name
