"""What makes a file the one that was opened: size, times and inode."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from voxarray.core import descriptors, portable
from voxarray.core.error_messages import errors_name
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    SourceChangedError,
    UnsupportedError,
    of_system,
)
from voxarray.core.given_paths import absolute_path

# Opening a pipe would wait for somebody who writes, perhaps for ever.
_READ = os.O_RDONLY | portable.CLOEXEC | portable.NONBLOCK | portable.BINARY

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_ANNEX = os.path.join(".git", "annex", "objects") + os.sep

_POINTERS = {
    b"/annex/objects/": "git annex get",
    b"version https://git-lfs": "git lfs pull",
}
"""How the small files begin that stand for large ones, and what brings those."""

_LARGEST_POINTER = 32 << 10


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What makes a file the one that was opened: a changed file must never mix with an old header.

    Attributes:
        path: Absolute path.
        size: Bytes.
        mtime_ns: Time of the last change, in ns.
        inode: Number on its file system, which changes when the file is replaced.
        ctime_ns: Time of the last change of content or status, in ns, which nobody can set; 0 where
            it is not asked for, or the system has none.
        status: Mode, links and owners: a change of these explains one of ``ctime_ns``.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0
    status: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def of(cls, path: str | os.PathLike[str], fd: int | None = None) -> FileIdentity:
        """Identity of the file at ``path``, or of its open descriptor.

        Raises:
            MissingFileError: There is none (as `absent`).
            UnsupportedError: It is a pipe, a device, a folder (``NOT_A_FILE``).
        """
        # Of a descriptor it is the path of an identity, and was asked for before.
        absolute = absolute_path(path) if fd is None else os.fspath(path)
        try:
            status = os.stat(absolute if fd is None else fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise absent(absolute) from None
        if fd is None:
            require_regular(absolute, status.st_mode)
        owners = status.st_mode, status.st_nlink, status.st_uid, status.st_gid
        ctime = 0 if os.name == "nt" else status.st_ctime_ns  # there, when the file was made
        return cls(absolute, status.st_size, status.st_mtime_ns, status.st_ino, ctime, owners)

    def without_status(self) -> FileIdentity:
        """The identity of a file whose content is checked whenever it is read.

        Of that no second name, no right and no backup may say that it changed.
        """
        return replace(self, ctime_ns=0, status=(0, 0, 0, 0))

    def open(self) -> int:
        """Descriptor for reading; the caller closes it.

        Raises:
            SourceChangedError: If the file is not the one that was opened, or is gone.
        """
        try:
            fd = descriptors.open_file(self.path, _READ)
        except FileNotFoundError:
            raise SourceChangedError(
                f"{self.path} was deleted after it was opened: restore it, or open another file",
                path=self.path,
            ) from None
        try:
            self.check(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def named_in_errors(self) -> AbstractContextManager[None]:
        """Errors of ours that are raised inside name this file."""
        return errors_name(self.path)

    def check(self, fd: int) -> None:
        """Raise `SourceChangedError` unless the descriptor is of the file that was opened."""
        current = FileIdentity.of(self.path, fd)
        if not self.can_be(current, fd):
            raise SourceChangedError(
                f"{self.path} changed after it was opened (was {self._text()}; is "
                f"{current._text()}): open it again",
                path=self.path,
            )

    def can_be(self, current: FileIdentity, fd: int | None = None) -> bool:
        """Whether a file is as it was: a new right, owner or second name changes no voxel.

        Args:
            current: Its identity now.
            fd: Its open descriptor, where there is one.
        """
        if current == self:
            return True
        if current.without_status() != self.without_status():
            return False
        if not self.ctime_ns or current.status != self.status or current.ctime_ns == self.ctime_ns:
            return True
        # Some network file systems make the time up whenever they are asked.
        return FileIdentity.of(self.path, fd).ctime_ns != current.ctime_ns

    def _text(self) -> str:
        return (
            f"{self.size} bytes, inode {self.inode}, modified {self.mtime_ns} ns, changed "
            f"{self.ctime_ns} ns"
        )


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def refuse_special(path: str, mode: int) -> None:
    """Raise `UnsupportedError` (``NOT_A_FILE``) for a device, pipe or socket as a destination.

    A file would take its place: where the owner of its folder writes, that may be ``/dev/null``.

    Args:
        path: The destination.
        mode: As `os.stat` gives it.
    """
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UnsupportedError(
            f"{path} is {_kind(mode)}, and writing would replace it by a file: choose another path",
            code="NOT_A_FILE",
            path=path,
        )


def require_regular(path: str, mode: int) -> None:
    """Raise `UnsupportedError` (``NOT_A_FILE``) for what is no regular file.

    Args:
        path: For the message.
        mode: As `os.stat` gives it.
    """
    if not stat.S_ISREG(mode):
        raise UnsupportedError(
            f"{path} is {_kind(mode)}, but an image is read from a regular file: give the path of "
            "one",
            code="NOT_A_FILE",
            path=path,
        )


def require_open_folder(path: str) -> None:
    """Raise `AccessDeniedError` for a folder that may not be listed or entered.

    To be asked before it is said that nothing is in it: what looks for files in it finds none.
    """
    if os.path.isdir(path) and not portable.may(path, os.R_OK | os.X_OK):
        raise of_system(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), path)


def absent(path: str) -> MissingFileError:
    """What is said of a path with nothing behind it.

    The code is ``NOT_FOUND``; ``LINK_LOOP`` for links that lead in a circle, ``NOT_FETCHED`` for a
    link into an annex of git that lacks the file.
    """
    if not os.path.islink(path):
        return MissingFileError(f"there is no file {path}: check the path", path=path)
    target = os.readlink(path)
    if _ANNEX in os.path.normpath(target):
        return MissingFileError(
            f"{path} is in git-annex, and its content is not on this machine: run git annex get "
            "on it",
            code="NOT_FETCHED",
            path=path,
        )
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return MissingFileError(
                f"{path} is a link that leads in a circle: make it point to a file",
                code="LINK_LOOP",
                path=path,
            )
    return MissingFileError(
        f"{path} is a link to {target}, but that file does not exist: put the file there, or "
        "correct the link",
        path=path,
    )


def explained(error: FormatError, path: str) -> FormatError | MissingFileError:
    """An error of a file that could not be understood, or what it is instead of an image.

    A small file may stand for a large one that was not fetched (``NOT_FETCHED``).
    """
    try:
        if os.path.getsize(path) > _LARGEST_POINTER:
            return error
        with open(path, "rb", buffering=0) as file:
            start = file.read(64)
    except OSError:
        return error
    for beginning, command in _POINTERS.items():
        if start.startswith(beginning):
            return MissingFileError(
                f"{path} is only a placeholder, and its content is not on this machine: run "
                f"{command} on it",
                code="NOT_FETCHED",
                path=path,
            )
    return error
