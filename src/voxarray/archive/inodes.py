"""How many files and folders an archive will be: clusters often limit these, not bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from voxarray.archive.outline import Outline
from voxarray.geometry.layout import Layout

_COORDINATES = 3 * 3 + 2
"""Of the base level: x, y, z with document and only chunk, ``spatial_ref`` without a chunk."""

_HEADER = 4
_TABLE = 5
_LIST_OF_LABELS = 2


def inodes_of(plan: Outline) -> int:
    """Files and folders of the archive of an image, its own folder included, at most.

    A table of chunk statistics is counted, though it is not written if the voxels turn out to be
    neither labels nor weights.
    """
    table = 0 if plan.tally() is None else _TABLE
    levels = sum(2 + _array(layout) for layout in plan.layouts)
    # Its folder, its document, the manifest.
    return 3 + _HEADER + table + _COORDINATES + levels


def inodes_with_layers(image: int, layers: Sequence[int]) -> int:
    """Files and folders of an image with label maps, of which each is known by itself."""
    # Label maps have no manifest of their own; a list in ``labels`` names them.
    return image + sum(layer - 1 for layer in layers) + (_LIST_OF_LABELS if layers else 0)


def _array(layout: Layout) -> int:
    """The folder of an array, its document and its shards, each below three folders."""
    counts = [math.ceil(n / shard) for n, shard in zip(layout.shape, layout.shard, strict=True)]
    return 2 + 1 + sum(itertools.accumulate(counts, int.__mul__))
