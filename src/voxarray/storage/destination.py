"""Where something is written: on a local file system, whatever the text looks like."""

from __future__ import annotations

import os
import re

from voxarray.core.errors import UnsupportedError
from voxarray.storage.remote.address import OBJECT_STORES, WEB, as_local, is_url

# As `pathlib` leaves a URL, which has lost one slash; and such as nobody names a folder.
_COLLAPSED = re.compile(
    rf"(?i)(?:{'|'.join((*OBJECT_STORES, *WEB, 'gcs', 'ftp', 'sftp', 'hdfs', 'file'))}):/"
)


def local_destination(path: str | os.PathLike[str]) -> str:
    """A destination as a local path; a ``file://`` URL is one.

    Every place that writes asks this before anything is read: as a path, ``s3://bucket/a`` is a
    folder ``s3:`` of this machine, and what is in it goes with the container.

    Raises:
        UnsupportedError: It is a URL of something else (``UNSUPPORTED_DESTINATION``).
    """
    text = as_local(os.fspath(path))
    if is_url(text) or _COLLAPSED.match(text):
        raise UnsupportedError(
            f"{text} is a URL, and files and cohorts are made on local file systems only: name a "
            "local folder, and copy it with the tool of the store (aws s3 sync, gsutil rsync, "
            "azcopy)",
            code="UNSUPPORTED_DESTINATION",
            path=text,
        )
    return text
