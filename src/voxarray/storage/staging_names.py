"""How the names of staging folders end, for whoever searches folders and writes nothing."""

from __future__ import annotations

REPLACED = ".replaced"
"""End of the hidden name that an archive has while another is put in its place, where the file
system cannot exchange them in one step."""

_ENDS = (".staging", ".staging.new", ".staging.ozx", REPLACED)


def is_hidden_staging(name: str) -> bool:
    """Whether a file name is that of an unfinished archive, voxarray 0.1's included."""
    return name.startswith(".") and name.endswith(_ENDS)
