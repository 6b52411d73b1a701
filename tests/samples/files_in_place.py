"""A file that is written anew in place, of which size, time and inode tell nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path


def write_file_in_place(path: Path, data: bytes, filling: bytes) -> None:
    """Put other bytes into a file, which keeps its size, its time of change and its inode.

    Args:
        path: Of the file.
        data: What is put there; cut to the size that the file has.
        filling: One byte, repeated where ``data`` is too short.
    """
    before = path.stat()
    time.sleep(0.02)  # times of files have the granularity of the kernel's clock
    with path.open("r+b") as file:
        file.write(data[: before.st_size].ljust(before.st_size, filling))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
