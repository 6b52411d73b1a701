"""Which transport reads a URL."""

from __future__ import annotations

from voxarray.core.errors import StateError
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.fsspec_objects import FsspecObjects
from voxarray.storage.remote.objects import Objects
from voxarray.storage.remote.obstore_objects import RUNTIME, SCHEMES, ObstoreObjects


def objects_at(address: Address) -> Objects:
    """The objects below an address: through obstore where it can, else through fsspec."""
    if address.scheme in SCHEMES:
        return ObstoreObjects(address)
    return FsspecObjects(address)


def usable(objects: Objects) -> Objects:
    """The same objects through a transport that works in this process.

    Raises:
        StateError: obstore was used before this process was forked, and nothing can take its place
            (``FORKED``).
    """
    if not (RUNTIME.lost and isinstance(objects, ObstoreObjects)):
        return objects
    replacement = FsspecObjects(objects.address)
    try:
        replacement._located("")
    except ImportError as error:
        raise StateError(
            f"{objects.shown} was opened through obstore, whose threads do not survive a fork: "
            "start workers with 'spawn' or 'forkserver' (multiprocessing_context of a "
            f"DataLoader), or install the package with which fsspec can read it ({error})",
            code="FORKED",
            path=objects.shown,
        ) from error
    return replacement
