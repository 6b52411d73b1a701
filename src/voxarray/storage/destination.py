"""Where something is written: on a local file system or in a bucket, whatever the text is like."""

from __future__ import annotations

import os
import re

from voxarray.core.errors import UnsupportedError
from voxarray.core.given_paths import path_text
from voxarray.storage.remote.address import OBJECT_STORES, WEB, as_local, is_url

# As `pathlib` leaves a URL, which has lost one slash; and such as nobody names a folder.
_COLLAPSED = re.compile(
    rf"(?i)(?:{'|'.join((*OBJECT_STORES, *WEB, 'gcs', 'ftp', 'sftp', 'hdfs', 'file'))}):/"
)

_BUCKET = re.compile(rf"(?i)(?:{'|'.join(OBJECT_STORES)}):/")


def local_destination(path: str | os.PathLike[str]) -> str:
    """A destination as a local path; a ``file://`` URL is one.

    Every place that writes to local file systems alone asks this before anything is read: as a
    path, ``s3://bucket/a`` is a folder ``s3:`` of this machine, and what is in it goes with the
    container.

    Raises:
        UnsupportedError: It is a URL of something else (``UNSUPPORTED_DESTINATION``).
    """
    text = as_local(path_text(path))
    if is_url(text) or _COLLAPSED.match(text):
        raise UnsupportedError(
            f"{text} is a URL, and what is to be saved here can be written to local file systems "
            "only: choose a local file or folder, and copy the result with the tool of the store "
            "(aws s3 cp, gsutil cp, azcopy)",
            code="UNSUPPORTED_DESTINATION",
            path=text,
        )
    return text


def destination_of(path: str | os.PathLike[str]) -> str:
    """A destination as an absolute local path, or as the URL of a place in a bucket.

    A URL that went through `pathlib`, and lost a slash, is the URL that it was.

    Raises:
        UnsupportedError: It is a URL of what cannot be written to (``UNSUPPORTED_DESTINATION``), or
            names no place in a bucket (``BAD_URL``).
    """
    text = path_text(path)
    if text.startswith(os.sep) and "://" not in text and os.name != "nt":
        return os.path.normpath(text)  # by far the most, and each is asked for several times
    text = as_local(text)
    if _BUCKET.match(text):
        from voxarray.storage.remote.writing import WritableObjects  # 7 ms, for buckets alone

        text = text.replace(":/", "://", 1) if not is_url(text) else text
        return WritableObjects.at(text).url
    return os.path.abspath(os.path.expanduser(local_destination(text)))
