"""Files that stay open for the next read: how many may, and who closes theirs on a shortage.

A process may have few open (macOS: 256), and they are shared with everything else in it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from voxarray.core.portable import BINARY

Result = TypeVar("Result")

MOST = 256
"""Files that one cache keeps open at most."""

_SHARE = 4
"""Of the files that the process may open, one cache takes the fourth part."""

_releases: list[Callable[[], None]] = []


def allowance() -> int:
    """Files that one cache may keep open in this process."""
    try:
        import resource  # not on Windows
    except ImportError:
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    return max(1, min(MOST, soft // _SHARE))


def release_on_shortage(release: Callable[[], None]) -> None:
    """Register what closes files that a cache keeps open and nobody reads from."""
    _releases.append(release)


def with_room(open_one: Callable[[], Result]) -> Result:
    """What opening returns; where no file can be opened any more, caches let go of theirs first.

    Raises:
        OSError: As opening, which is tried twice for ``EMFILE`` and ``ENFILE``.
    """
    try:
        return open_one()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    for release in _releases:
        release()
    return open_one()


def open_file(path: str, flags: int) -> int:
    """`os.open`, with room made for it."""
    return with_room(lambda: os.open(path, flags | BINARY))
