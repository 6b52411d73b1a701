"""What was seen of the chunks of a foreign array, so that they cannot change unnoticed.

Zarr keeps no record of its chunks: an array whose chunks were written again has the metadata that
it had, and a chunk that is deleted reads as the fill value. So the first sight of each chunk is
remembered, and files of this machine are compared with the time of opening besides.

What stays unseen: before its first read by this process, the change of an object behind a URL, and
of a file one that leaves its time older than the opening (``cp -p``, ``mv``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from voxarray.core.errors import SourceChangedError
from voxarray.storage.store import Store

_DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")

MOST_REMEMBERED = 1 << 16
"""Chunks of one array; beyond, those that were seen first are forgotten first."""


_CHANGED = "changed"


def now_ns() -> int:
    """The time as files are stamped with it, which may lag some milliseconds behind the clock."""
    coarse = getattr(time, "CLOCK_REALTIME_COARSE", None)
    return time.time_ns() if coarse is None else time.clock_gettime_ns(coarse)


@dataclass(eq=False, slots=True)
class ChunkFingerprints:
    """Chunks of one array since it was opened, by threads of one process.

    Attributes:
        store: Where they lie.
        opened: When the array was opened, ns.
    """

    store: Store
    opened: int
    # No lock, which a fork might find held: each step is one call that nothing interrupts.
    _fingerprints: OrderedDict[str, Hashable] = field(default_factory=OrderedDict)

    def require_same(self, key: str, identity: Hashable) -> None:
        """Say what a chunk is now; None if it is not there.

        Raises:
            SourceChangedError: It was another before, or changed since the array was opened.
        """
        if key.rpartition("/")[2] in _DOCUMENTS:  # which are checked for every read
            return
        if key not in self._fingerprints and self.store.changed_since(key, self.opened):
            identity = _CHANGED
        first = self._fingerprints.setdefault(key, identity)
        if len(self._fingerprints) > MOST_REMEMBERED:
            self._fingerprints.popitem(last=False)
        if _CHANGED in (first, identity) or not self.store.is_same(first, identity):
            raise SourceChangedError(
                f"{key} of {self.store.path} was changed or deleted after the array was opened: "
                "open it again",
                path=self.store.path,
            )
