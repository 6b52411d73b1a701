"""The other file of an image that is kept in two."""

from __future__ import annotations

import os

from voxarray.core.errors import MissingFileError
from voxarray.storage.file_identity import FileIdentity


def companion_file(path: str, suffix: str, others: tuple[str, ...]) -> FileIdentity:
    """The first file that is there of those named as ``path`` with another suffix.

    Each is looked for in lower and in upper case, and with the first part alone in upper case, as
    in ``.BRIK.gz``.

    Args:
        path: A file of the pair.
        suffix: How it ends, in lower case.
        others: How the other may end, in lower case, the likeliest first.

    Raises:
        MissingFileError: There is none.
    """
    stem, ending = path[: -len(suffix)], path[-len(suffix) :]
    for other in others:
        _, first, *compression = other.split(".")
        mixed = ".".join(["", first.upper(), *compression])
        for name in (mixed, other.upper(), other) if ending.isupper() else (other, mixed):
            if os.path.isfile(stem + name):
                return FileIdentity.of(stem + name)
    expected = os.path.basename(stem) + "".join(others[:1])
    raise MissingFileError(
        f"{path} is one file of a pair, but there is no {expected} beside it: copy that file into "
        "the same folder",
        path=path,
    )
