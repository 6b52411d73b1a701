"""What the system says of the file system that a path is on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from voxarray.core import portable

MOUNTS = "/proc/self/mountinfo"

_ONE_KERNEL = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs"),
    *("tmpfs", "ramfs", "overlay", "vfat", "exfat", "ntfs3"),
}
"""File systems that one kernel at a time mounts, so that it knows all locks."""

_SYNCED_AS_ONE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"}
"""File systems whose ``syncfs`` is what ``fsync`` is for every file of theirs. FUSE leaves it out,
and what network file systems and overlays make of it differs by version."""

_SHARED: Mapping[str, Callable[[set[str]], bool]] = {
    "nfs": lambda options: not options & {"nolock", "local_lock=flock", "local_lock=all"},
    "nfs4": lambda options: not options & {"nolock", "local_lock=flock", "local_lock=all"},
    "lustre": lambda options: "flock" in options,
    "gpfs": lambda _: True,
    "ceph": lambda _: True,
    "gfs2": lambda options: "localflocks" not in options,
    "ocfs2": lambda options: "localflocks" not in options,
    "cifs": lambda options: "nobrl" not in options,
    "smb3": lambda options: "nobrl" not in options,
}
"""File systems of several machines, and with which options a lock of one is seen by all."""


def locks_are_seen_by_all(path: str) -> bool:
    """Whether ``flock`` on a file below a path excludes the processes of all machines.

    False where the file system is not known to: FUSE and BeeGFS, for two, mostly keep locks to
    the machine that takes them.
    """
    kind, options = _mount_of(os.path.realpath(path))
    return kind in _ONE_KERNEL or (kind in _SHARED and _SHARED[kind](options))


def is_synced_as_one(path: str) -> bool:
    """Whether one call makes all files of the file system that a path is on survive a power loss.

    Raises:
        OSError: If there is nothing at the path.
    """
    return portable.has_syncfs() and _kind_of_device(os.stat(path).st_dev, path) in _SYNCED_AS_ONE


_kinds: dict[int, str] = {}


def _kind_of_device(device: int, path: str) -> str:
    """Type of a file system, which its device keeps as long as it is mounted; asked for once."""
    if device not in _kinds:
        _kinds[device] = _mount_of(os.path.realpath(path))[0]
    return _kinds[device]


def _mount_of(path: str) -> tuple[str, set[str]]:
    """Type and options of the file system that a path is on; empty where nobody tells."""
    best, result = -1, ("", set[str]())
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return result
    for line in lines:
        # proc_pid_mountinfo(5): id, parent, device, root, point, options, tags, "-", type, source,
        # options of the file system.
        mounted, _, described = line.partition(" - ")
        fields, more = mounted.split(" "), described.split(" ")
        if len(fields) < 6 or len(more) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        is_inside = path == point or path.startswith(point.rstrip("/") + "/")
        if is_inside and len(point) >= best:  # of several on one point, the last one is seen
            best = len(point)
            result = more[0], {*fields[5].split(","), *more[2].split(",")}
    return result
