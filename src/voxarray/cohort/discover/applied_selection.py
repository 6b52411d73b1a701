"""Which of the given patterns and columns apply to the given sources."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from voxarray.cohort.discover.search import is_manifest, is_searched
from voxarray.cohort.options import InputSelection
from voxarray.storage.remote.address import as_local


def applied(choice: InputSelection, sources: Sequence[str]) -> InputSelection:
    """The choice without what has no effect: patterns without a folder, columns without a table."""
    paths = [os.path.expanduser(as_local(source)) for source in sources]
    if not any(map(is_manifest, paths)):
        choice = replace(choice, image_columns=(), label_columns=(), subject_column=None)
    if not any(map(is_searched, paths)):
        choice = replace(choice, image_patterns=(), label_patterns=())
    return choice
