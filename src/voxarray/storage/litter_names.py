"""Names of files that operating systems leave in any folder, such as ``.DS_Store``."""

from __future__ import annotations

import re

_LITTER = re.compile(r"(.*/)?(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+)")


def is_litter(key: str) -> bool:
    """Whether a file is such litter, by its path below a folder, with slashes."""
    return bool(_LITTER.fullmatch(key))
