"""Limits of the control groups that this process is in: its own group and every one above it.

A job's limit stands in a group deep in the tree (``/slurm/uid_1000/job_7/step_0``), never in the
files of its root. A limit of any ancestor binds as well, so all of them are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Controller = Literal["memory", "cpu"]

_ENDLESS = 1 << 60


@dataclass(frozen=True, slots=True)
class Group:
    """One control group as its files show it.

    Attributes:
        folder: Where its files are.
        version: Of the control-group interface, 1 or 2.
    """

    folder: Path
    version: int

    def memory(self) -> Iterator[tuple[int, str]]:
        """Bytes that its processes may use together, and the file that says so."""
        names = ("memory.max", "memory.high") if self.version == 2 else ("memory.limit_in_bytes",)
        for name in names:
            text = _text(self.folder / name)
            # No limit is "max" in version 2, and a number of 2^63 less a page in version 1.
            if text.isdigit() and int(text) < _ENDLESS:
                yield int(text), str(self.folder / name)

    def cores(self) -> Iterator[tuple[float, str]]:
        """Processors that its processes may use together, and the file that says so."""
        if self.version == 2:
            file = self.folder / "cpu.max"
            fields = _text(file).split()
        else:
            file = self.folder / "cpu.cfs_quota_us"
            fields = [_text(file), _text(self.folder / "cpu.cfs_period_us")]
        # No quota is "max" in version 2 and -1 in version 1.
        if len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]):
            yield int(fields[0]) / int(fields[1]), str(file)


def groups(controller: Controller, root: Path = Path("/")) -> Iterator[Group]:
    """The groups whose limits hold for this process, its own first.

    Args:
        controller: What is limited.
        root: Where ``/proc`` and the mounted trees are looked for.
    """
    paths = dict(_own_paths(controller, root))
    for version, mounted, mount_point in _mounts(controller, root):
        if version not in paths:
            continue
        top = root / mount_point.relative_to("/")
        folder = top / _below(paths[version], mounted)
        if not folder.is_dir():  # another namespace's view of the tree: what is mounted is ours
            folder = top
        for path in (folder, *folder.parents):
            yield Group(path, version)
            if path == top:
                break


def _own_paths(controller: Controller, root: Path) -> Iterator[tuple[int, PurePosixPath]]:
    """Version and path of the groups that this process is in (cgroups(7), /proc/pid/cgroup)."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        _, controllers, path = fields
        if not controllers:
            yield 2, PurePosixPath(path)
        elif controller in controllers.split(","):
            yield 1, PurePosixPath(path)


def _mounts(
    controller: Controller, root: Path
) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """Version, mounted group and mount point of trees (proc(5), /proc/pid/mountinfo)."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = before.split(" "), after.split(" ")
        if len(mount) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version = 2
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            version = 1
        else:
            continue
        yield version, _unescaped(mount[3]), _unescaped(mount[4])


def _below(path: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """A group's place below a mount point that shows the tree from ``mounted`` on."""
    if ".." in path.parts:  # moved out of its own namespace's tree: nothing above is visible
        return PurePosixPath()
    if path.is_relative_to(mounted):
        return path.relative_to(mounted)
    return path.relative_to("/") if path.is_absolute() else path


def _unescaped(text: str) -> PurePosixPath:
    # Blank, tab, newline and backslash are written as octal numbers.
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return PurePosixPath(text)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):  # not Linux, or not this version
        return ""
