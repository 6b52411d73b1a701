"""Hidden folders that belong to whoever works in them, which a lock on a file inside tells.

The owner holds the lock as long as it lives, and the system takes it back however the owner ends.
So a folder whose lock can be taken belongs to nobody. Names of hosts and numbers of processes would
tell less: containers share the first and begin to count the second anew.

Where the file system has no locks there is no lock file, and nobody but its owner, or a user who
says that no writer is left, removes the folder. Some network file systems grant locks that only
processes of the same machine see; so a lock that was left by another machine counts only where
all machines see the same locks.

While a folder has no lock yet, or no longer, its name ends in ``.new``. Nothing but a lock and what
is being deleted is ever in such a folder, so whoever tidies up may remove one that is empty: an
owner who is about to lock it finds that it is gone and makes another. So a process that is killed
between two of its steps leaves nothing that would have to stay for good.

Whoever removes a folder of others moves it to another name first. That is one step, which either
comes before its owner publishes what is in it, and then the owner fails by name, or after it: what
was published is out of reach. So even a lock that lies makes no archive with holes.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import cache

from voxarray.core import portable
from voxarray.core.disk import remove_tree
from voxarray.core.mounts import locks_are_seen_by_all

LOCK = "lock"
"""Name of the lock file in its folder."""

NEW = ".new"
"""End of the name of a folder that may have no lock yet, or no longer."""

_TRIES = 100
_BOOT = "/proc/sys/kernel/random/boot_id"


class Ownership(Enum):
    """Whose a folder is."""

    IN_USE = "in use"  # somebody who lives holds the lock
    ABANDONED = "abandoned"  # nobody does
    UNKNOWN = "unknown"  # no lock can tell


class FolderLock:
    """A folder, and the lock that says that somebody is at work in it.

    Descriptors are not inherited by programs that are started, and the child of a fork drops its
    copies at once: it must not keep the lock of a parent that has died.

    Attributes:
        folder: Path.
        is_mine: Whether this process made or joined the folder, and has not left it.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.is_mine = folder, bool(folder)  # by no name, none yet
        self._fd = -1
        self._shared = False

    @classmethod
    def make(cls, parent: str, name_of: Callable[[], str], *, shared: bool = False) -> FolderLock:
        """Make a folder and lock it.

        Args:
            parent: Where.
            name_of: Gives a new random name each time.
            shared: Whether other processes will `join`: then each of them holds a share of the
                lock, and the folder is abandoned when the last of them has ended.

        Raises:
            OSError: What the disk refuses.
        """
        lock = cls("")
        try:
            lock.make_folder(parent, name_of, shared=shared)
        except BaseException:
            lock.remove()
            raise
        return lock

    def make_folder(self, parent: str, name_of: Callable[[], str], *, shared: bool = False) -> None:
        """As `make`, of a lock that is there before: whatever interrupts this, `remove` undoes it.

        Raises:
            OSError: What the disk refuses.
        """
        for _ in range(_TRIES):
            self.folder = os.path.join(parent, name_of())
            new = self.folder + NEW
            self.is_mine = True
            try:
                os.mkdir(new, 0o700)
            except FileNotFoundError:  # another process may have removed it, when it was empty
                os.makedirs(parent, exist_ok=True)
                continue
            # Where there are no locks, even the last step may find that it was tidied away.
            with suppress(FileNotFoundError):
                if self._acquire(new, shared, os.O_CREAT):
                    os.rename(new, self.folder)
                    return
            self.release()  # somebody who tidies up was between the steps
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), parent)

    @classmethod
    def join(cls, folder: str) -> FolderLock:
        """Hold a share of the lock of a folder that another process made with ``shared``.

        Raises:
            FileNotFoundError: If it is gone, or being removed.
        """
        lock = cls(folder)
        if lock._acquire(folder, True, 0) or (os.path.isdir(folder) and not _has_lock(folder)):
            return lock
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)

    @property
    def is_there(self) -> bool:
        """Whether the folder is still the one that was locked: nobody has removed it."""
        if self._fd < 0:
            return os.path.isdir(self.folder)
        return _is_same(self._fd, os.path.join(self.folder, LOCK))

    def release(self) -> None:
        """Leave the folder as it is."""
        self.is_mine = False
        self._close()

    def remove(self) -> None:
        """Delete the folder, unless others who joined it are still there; then leave it.

        In the child of a fork nothing happens.
        """
        if not self.is_mine:
            return
        # Of a shared lock only the last one can make an exclusive lock.
        if self._fd < 0 or not self._shared or portable.try_lock(self._fd, exclusive=True):
            try:
                _delete(self.folder)
            except OSError:
                pass
            except BaseException:  # Ctrl-C: what was begun is ended before it is heard
                with suppress(OSError):
                    _delete(self.folder)
                raise
        self.release()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _acquire(self, folder: str, shared: bool, flags: int) -> bool:
        """Take the lock; False if somebody else has it, or the folder is gone.

        Where the file system has no locks, True without one, and without a lock file.
        """
        path = os.path.join(folder, LOCK)
        self._shared = shared
        with _forking:  # a fork in between would inherit a descriptor that it does not know of
            try:
                # For writing: network file systems make of it a lock that others see only then.
                self._fd = os.open(path, os.O_RDWR | portable.BINARY | flags, 0o600)
            except FileNotFoundError:
                return False
            _open_locks[id(self)] = self
        granted = portable.try_lock(self._fd, exclusive=not shared)
        # Without a lock file others know that nothing can be asked, instead of finding it free.
        if granted is None:
            self._close()
            if flags & os.O_CREAT:
                os.unlink(path)
            return True
        # The lock of a file that was deleted meanwhile protects nothing.
        if not granted or not _is_same(self._fd, path):
            self._close()
            return False
        # Every machine that has a share signs; see `_counts`.
        signature = f"{_machine()}\n".encode()
        if signature not in portable.pread(self._fd, 1 << 16, 0):
            os.lseek(self._fd, 0, os.SEEK_END)
            os.write(self._fd, signature)
        return True

    def _close(self) -> None:
        with _forking:
            _open_locks.pop(id(self), None)
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def ownership(folder: str) -> Ownership:
    """Whose a folder is, as far as its lock tells."""
    owner, lock = _judged(folder)
    if lock is not None:
        lock.release()
    return owner


def remove_if_abandoned(folder: str, *, rescue: Callable[[str], None] | None = None) -> Ownership:
    """Delete a folder whose lock can be taken; says whose it was.

    Args:
        folder: Its name holds sixteen random hexadecimal digits.
        rescue: Called with the folder before it is deleted.

    Raises:
        OSError: What the disk refuses.
    """
    owner, lock = _judged(folder)
    if lock is None:
        return _removed_if_empty(folder) if owner is Ownership.ABANDONED else owner
    try:
        remove_aside(folder, rescue=rescue)
    finally:
        lock.release()
    return owner


def remove_aside(folder: str, *, rescue: Callable[[str], None] | None = None) -> None:
    """Delete a folder, after it was moved out of the reach of whoever may still publish from it.

    Raises:
        OSError: What the disk refuses.
    """
    aside = renewed(folder)
    os.rename(folder, aside)
    if rescue is not None:
        rescue(aside)
    _delete(aside)


def random_identity() -> str:
    """Sixteen hexadecimal digits, new each time."""
    return os.urandom(8).hex()


def renewed(path: str) -> str:
    """A path whose last random identity is another one."""
    parent, name = os.path.split(path)
    at = [match.span() for match in re.finditer(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", name)]
    if not at:  # of voxarray 0.1
        return os.path.join(parent, f".{name.lstrip('.')}.{random_identity()}.staging")
    start, stop = at[-1]
    return os.path.join(parent, name[:start] + random_identity() + name[stop:])


def _judged(folder: str) -> tuple[Ownership, FolderLock | None]:
    """Whose a folder is; and its lock, if it is nobody's and has one."""
    lock = FolderLock(folder)
    path = os.path.join(folder, LOCK)
    try:
        # In a folder for temporary files anybody may put anything, a link to elsewhere for one.
        if not _is_own_folder(folder):
            return Ownership.UNKNOWN, None
        with _forking:
            lock._fd = os.open(path, os.O_RDWR | portable.NOFOLLOW | portable.BINARY)
            _open_locks[id(lock)] = lock
    except OSError:  # none, or none that may be opened
        is_empty = folder.endswith(NEW) and not _has_entries(folder)
        return (Ownership.ABANDONED if is_empty else Ownership.UNKNOWN), None
    granted = portable.try_lock(lock._fd, exclusive=True)
    if granted and _is_same(lock._fd, path) and _counts(lock._fd, folder):
        return Ownership.ABANDONED, lock
    lock.release()
    return (Ownership.IN_USE if granted is False else Ownership.UNKNOWN), None


def _counts(fd: int, folder: str) -> bool:
    """Whether a lock that could be taken proves that nobody is left on any machine."""
    machines = set(portable.pread(fd, 1 << 16, 0).decode("ascii", "replace").split())
    return machines == {_machine()} or locks_are_seen_by_all(folder)


@cache
def _machine() -> str:
    """What the processes of one running kernel have in common, whatever container they are in."""
    with suppress(OSError), open(_BOOT, encoding="ascii") as file:
        return file.read().strip()
    return _PROCESS


_PROCESS = random_identity()
"""Instead, where the system does not tell: then only this process trusts its own locks."""


def _is_same(fd: int, path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), status)


def _is_own_folder(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == portable.user_id()


def _has_lock(folder: str) -> bool:
    return os.path.lexists(os.path.join(folder, LOCK))


def _has_entries(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return True  # nobody knows


def _removed_if_empty(folder: str) -> Ownership:
    """Delete a folder without a lock, unless its owner was quicker."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return Ownership.UNKNOWN
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return Ownership.IN_USE
    return Ownership.ABANDONED


def _delete(folder: str) -> None:
    """Delete a folder, its lock file last, under a name that tells that it may have none."""
    last = folder.removesuffix(NEW) + NEW
    if last != folder and os.path.lexists(last):  # it was interrupted when it was made or deleted
        folder = last
    for name in set(os.listdir(folder)) - {LOCK}:
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            os.unlink(path)
    with suppress(OSError):  # a full disk may refuse it: the folder goes all the same
        os.rename(folder, last)
        folder = last
    with suppress(FileNotFoundError):  # where there are no locks
        os.unlink(os.path.join(folder, LOCK))
    with suppress(FileNotFoundError):  # empty and without a lock, anybody may have removed it
        os.rmdir(folder)


# --- Forks ----------------------------------------------------------------------------------------

_forking = threading.RLock()
_open_locks: dict[int, FolderLock] = {}
"""The locks of this process, and those that it looks at."""


def _forget_parents() -> None:
    for lock in list(_open_locks.values()):
        lock.is_mine = False
        os.close(lock._fd)  # of a copy: the parent's own holds on
        lock._fd = -1
    _open_locks.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forking.acquire,
        after_in_parent=_forking.release,
        after_in_child=_forget_parents,
    )
