"""Folders at the top of an archive in a bucket that bear a name of ours, and are another's.

Anybody may save a group ``scale9`` into an archive, and that would have the names of what writers
leave who are interrupted. The documents tell: writers of an archive put theirs in one form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from voxarray.archive import documents
from voxarray.archive.root_prefix import is_leftover, is_stray

Read = Callable[[str], bytes | None]
"""Bytes of an object; None if there is none."""

_FOLDER = re.compile(r"(labels/[^/]+|scale\d+|nifti|label_counts|weight_sums)/")
_DOCUMENT = "/zarr.json"
_OF_LABELS = re.compile(r"labels/([^/]+/)?zarr\.json")
"""The list, and the topmost document of a label map: both have attributes of their own."""
_EMPTY_GROUP = documents.dump(documents.group({}))
_ARRAY = b'{"zarr_format":3,"node_type":"array",'


def left_by_writers(unnamed: Iterable[str], root: str, read: Read) -> set[str]:
    """Keys that writers of an archive left there which were interrupted, or came second.

    Args:
        unnamed: Keys of objects that the manifest of the archive does not name.
        root: Of the archive.
        read: Reads a small object; called for documents at the top only.
    """
    left = {key for key in unnamed if is_leftover(key, root) or is_stray(key, root)}
    foreign = {
        match[0]
        for key in sorted(left)
        if key.endswith(_DOCUMENT)
        and not _OF_LABELS.fullmatch(key)
        and (match := _FOLDER.match(key))
        and not _is_ours(read(key))
    }
    return {key for key in left if not key.startswith(tuple(foreign))}


def _is_ours(data: bytes | None) -> bool:
    """Whether a document has the form in which voxarray writes those of levels and arrays."""
    if data is None or data == _EMPTY_GROUP:  # it was deleted meanwhile
        return True
    if not data.startswith(_ARRAY):
        return False
    try:
        return documents.dump(json.loads(data)) == data
    except (ValueError, RecursionError):
        return False
