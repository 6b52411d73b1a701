"""Whether every value of a label map has a name."""

from __future__ import annotations

import numpy as np

from voxarray.archive.chunk_statistics import LABEL_COUNTS, parse_label_counts
from voxarray.archive.staging import Staging
from voxarray.archive.write_plan import WritePlan
from voxarray.core.errors import FormatError
from voxarray.counting.cells import COLUMNS

_EXAMPLES = 8
"""Values that an error names."""


def require_named(area: Staging, prefix: str, plan: WritePlan, name: str) -> None:
    """Raise `FormatError` (``UNNAMED_VALUES``) unless every value but 0 has a name.

    Args:
        area: Where the label map was written.
        prefix: Its folder there, with a final slash.
        plan: By which it was written.
        name: Of the label map.
    """
    key = f"{prefix}{LABEL_COUNTS}/c/0/0"
    if key not in area.files:
        raise FormatError(
            f"{name} holds measurements, not labels, and measurements have no names: add "
            "the image without names= (--name)",
            code="UNNAMED_VALUES",
        )
    with open(f"{area.root}/{key}", "rb") as file:
        counts = parse_label_counts(file.read(), plan.layouts[0])
    named_values = {label.value for label in plan.metadata.labels if label.name}
    values = np.unique(counts.table[:, COLUMNS.index("value")]).tolist()
    unnamed = [value for value in values if value not in named_values | {0}]
    if unnamed:
        more = f" and {len(unnamed) - _EXAMPLES} more" if len(unnamed) > _EXAMPLES else ""
        raise FormatError(
            f"{name} has values without a name: {', '.join(map(str, unnamed[:_EXAMPLES]))}{more}. "
            "Name these, too (names=, --name), or remove them first (vx.RemoveLabels)",
            code="UNNAMED_VALUES",
        )
