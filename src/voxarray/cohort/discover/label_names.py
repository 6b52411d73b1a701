"""Names of files that look like those of label maps."""

from __future__ import annotations

import os
import re

from voxarray.cohort.discover.input import stem

_LABEL_NAME = re.compile(r"(?:^|[-_. ])(?:d?seg|segmentation|labels?|mask|roi)$", re.IGNORECASE)


def is_like_labels(source: str) -> bool:
    """Whether a file has a name such as those of label maps."""
    return _LABEL_NAME.search(os.path.basename(stem(source))) is not None
