"""Whether dask computes in this process, or elsewhere."""

from __future__ import annotations

import sys


def has_cluster() -> bool:
    """Whether dask computes on the workers of a cluster, whose memory is not this process's."""
    distributed = sys.modules.get("distributed")  # whoever has a client has imported it
    if distributed is None:
        return False
    try:
        distributed.get_client()
    except ValueError:
        return False
    return True
