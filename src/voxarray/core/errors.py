"""Every error that voxarray raises, as a class with a code.

Every failure of files, stores, geometry and memory that voxarray can foresee is a `VoxarrayError`.
It has a ``code``, which programs can test. If a file is at fault, it also has the ``path`` of that
file. Arguments of a wrong type or value raise Python's own `TypeError` and `ValueError`. Each class
is also the built-in error that a caller would expect to catch:

    VoxarrayError
    ├── FormatError (ValueError)            a file or an argument that is impossible or ambiguous
    │   ├── TruncatedError (EOFError)       there are fewer bytes than the header promises
    │   ├── ChecksumError                   the bytes are not those that were written
    │   └── UnsupportedError                valid, but not something voxarray can hold
    │       ├── UnknownModeError (KeyError) a mode whose name is unknown
    │       └── OperatorError (TypeError)   operators such as + and < of images
    ├── ArchiveError (OSError)              an archive that cannot be read or written now
    │   ├── MissingDataError                a shard or file that must exist does not
    │   └── ArchiveExistsError (FileExistsError)
    ├── MissingFileError (FileNotFoundError)
    ├── TransportError (ConnectionError)    a store or server that does not answer, or wrongly
    ├── AccessDeniedError (PermissionError) a system, store or server that refuses to answer
    ├── SourceChangedError (RuntimeError)   the file is no longer the one that was opened
    ├── GridError (ValueError)              geometry that is invalid or does not match
    │   └── PandasIndexError (TypeError)    what asks for a pandas index of x, y or z
    ├── SelectionError (ValueError)         a selection or crop that leaves no voxels
    ├── OutOfRangeError (IndexError)        an index (of a voxel, subject, ...) beyond the last
    ├── MissingPackageError (ImportError)    an optional package that is not installed
    ├── MemoryBudgetError (MemoryError)     more memory would be needed than is allowed
    ├── ModelError (RuntimeError)           a network that cannot be loaded, fails or misbehaves
    └── StateError (RuntimeError)           a call that the object's state does not permit
        └── MissingImageError (KeyError)    a subject has no image of that name

Messages say what was seen, what was expected and what to do next; a traceback ends with a link to
the code's entry in the documentation.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from voxarray.core.documentation import about_code


class VoxarrayError(Exception):
    """Base of all voxarray errors.

    The message says what was seen, what was expected, and what to do.

    Examples:
        >>> try:
        ...     vx.ScalarImage("missing.nii").shape
        ... except vx.VoxarrayError as error:
        ...     print(type(error).__name__, error.code)
        MissingFileError NOT_FOUND

    Args:
        message: What was seen, what was expected, what to do.
        code: Stable upper-case name of the failure, such as ``"BAD_CRC"``.
        path: File or store at fault, if there is one.
    """

    default_code = "ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(message)
        if code is None and message.startswith(_CAUGHT):
            code, path = _told_by(message, type(self))
        self.message = message
        self.code = code or self.default_code
        self.path = None if path is None else os.fspath(path)
        self.add_note(f"{_ABOUT}{about_code(self.code)}")

    def __str__(self) -> str:
        where = "" if self.path is None or self.path in self.message else f" [{self.path}]"
        return f"{self.code}: {self.message}{where}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (dask workers); keyword-only arguments would be lost.
        return _rebuild, (type(self), self.message, self.code, self.path)


_ABOUT = "What it means, and what to do: "

_PATH_AT_END = re.compile(r" \[((?:/|\w+://|[A-Za-z]:[\\/])[^\[\]\n]*)\]\Z")

_CAUGHT = "Caught "
"""How torch begins the text of an error that it raises again."""


def _told_by(text: str, cls: type[VoxarrayError]) -> tuple[str | None, str | None]:
    """Code and path of an error whose traceback is in a text.

    What is raised in a worker of a ``DataLoader``, torch makes anew in the main process, of the
    class and the text of the traceback alone (``ExceptionWrapper.reraise`` in torch/_utils.py).
    """
    name = re.escape(f"{cls.__module__}.{cls.__qualname__}")
    matches = [*re.finditer(rf"^{name}: ([A-Z][A-Z0-9_]*): ", text, re.MULTILINE)]
    if not matches:
        return None, None
    # The last one: before it may stand what it was raised from.
    message = text[matches[-1].end() :].partition(f"\n{_ABOUT}")[0]
    path = _PATH_AT_END.search(message)
    return matches[-1][1], path and path[1]


def _rebuild(cls: type[VoxarrayError], message: str, code: str, path: str | None) -> VoxarrayError:
    return cls(message, code=code, path=path)


class FormatError(VoxarrayError, ValueError):
    """A file or an argument that says something impossible, contradictory or ambiguous.

    Such arguments are ``workers=``, ``partition=``, ``--chunk``, queries and names of labels. The
    message says what was seen and what was expected. Correct the argument; repair the file, or
    export it again.
    """

    default_code = "BAD_FORMAT"


class TruncatedError(FormatError, EOFError):
    """A file holds fewer bytes than its header promises.

    It was not copied whole, is still being written, or has a wrong header. Copy or export it
    again.
    """

    default_code = "TRUNCATED"


class ChecksumError(FormatError):
    """Bytes that are not the ones that were written.

    The file or archive is damaged. Copy it again, or restore it. Or make the archive again: save
    the label maps and notes that were added to it, if they can be read, delete the archive, and
    repeat the command that made it (for one of a cohort, the command that made the cohort), without
    ``--overwrite``. That option would make ALL archives of a cohort again, without label maps and
    notes that were added to any of them. If converting does not help, the disk or the memory may be
    faulty.
    """

    default_code = "BAD_CHECKSUM"


class UnsupportedError(FormatError):
    """A valid file that voxarray cannot represent as it is, or a request that it cannot meet.

    The message says what to convert first, or which format or option to use instead.
    """

    default_code = "UNSUPPORTED"


class UnknownModeError(UnsupportedError, KeyError):
    """A mode whose name is unknown; also a KeyError, as in TorchIO.

    The message lists the names that are known.
    """

    default_code = "UNKNOWN_MODE"

    __str__ = VoxarrayError.__str__


class OperatorError(UnsupportedError, TypeError):
    """An operator such as + or < between images, which have none.

    Calculate with ``image.array``, or apply a transform such as ``vx.Lambda``.
    """

    default_code = "NO_ARITHMETIC"


class ArchiveError(VoxarrayError, OSError):
    """An archive that is incomplete, or that cannot be read or written here and now.

    Perhaps another process has locked or changed it, the disk is full, or a newer voxarray wrote
    it. The message says what is missing or what failed, and what to do.
    """

    default_code = "BAD_ARCHIVE"

    # OSError.__str__ and __reduce__ would otherwise win for two-argument forms.
    __str__ = VoxarrayError.__str__
    __reduce__ = VoxarrayError.__reduce__


class MissingDataError(ArchiveError):
    """A shard, chunk or file that must exist in an archive does not.

    The archive is damaged or was not copied whole. Copy it again, or restore it. Or make it again,
    as for ``BAD_CHECKSUM``: delete it first, since an archive in a cohort is not converted again if
    its manifest (the list of its files) is intact.
    """

    default_code = "MISSING_DATA"


class ArchiveExistsError(ArchiveError, FileExistsError):
    """The destination exists already, or its name is taken, and it must not be replaced.

    Choose another name, or pass ``overwrite=True`` (``--overwrite``). A new archive is without
    label maps and notes that were added to the old one. Even with ``overwrite=True``, an archive is
    not replaced if its content was changed during the call.
    """

    default_code = "EXISTS"


class MissingFileError(VoxarrayError, FileNotFoundError):
    """There is no such file.

    Check the path; a relative path begins at the current folder.
    """

    default_code = "NOT_FOUND"

    __str__ = VoxarrayError.__str__
    __reduce__ = VoxarrayError.__reduce__


class TransportError(VoxarrayError, ConnectionError):
    """A store or server that did not answer, or answered wrongly.

    Check the address and the network, and try again. The settings ``voxarray.remote-timeout`` and
    ``voxarray.remote-attempts`` (in dask's configuration) say how long voxarray tries.
    """

    default_code = "TRANSPORT"

    __str__ = VoxarrayError.__str__
    __reduce__ = VoxarrayError.__reduce__


class AccessDeniedError(VoxarrayError, PermissionError):
    """A file, store or server that does not let this user read or write.

    Check the permissions of the file and of its folders, or the credentials for the store.
    """

    default_code = "ACCESS_DENIED"

    __str__ = VoxarrayError.__str__
    __reduce__ = VoxarrayError.__reduce__


class SourceChangedError(VoxarrayError, RuntimeError):
    """A file was changed, replaced or deleted after it was opened.

    Open it again.
    """

    default_code = "SOURCE_CHANGED"


class GridError(VoxarrayError, ValueError):
    """Geometry that is invalid, or that differs where it must agree.

    Correct the affine, or resample one image onto the grid of the other.
    """

    default_code = "BAD_AFFINE"


class PandasIndexError(GridError, TypeError):
    """An operation of xarray that needs an index per coordinate, but x, y and z share one.

    Use ``obj.vox.detach()`` before the operation, and ``.vox.reattach()`` on its result.
    """

    default_code = "NO_PANDAS_INDEX"


class SelectionError(VoxarrayError, ValueError):
    """A selection or crop that leaves no voxels, or a method of `.sel` that is not known.

    Check start, stop and step of each slice, or the sizes of the crop.
    """

    default_code = "EMPTY_SELECTION"


class OutOfRangeError(VoxarrayError, IndexError):
    """An index of a voxel, channel, level, subject or patch that is not there.

    Along an axis of ``n`` voxels, indices run from ``-n`` to ``n - 1``.
    """

    default_code = "OUT_OF_RANGE"


class MissingPackageError(VoxarrayError, ImportError):
    """An optional package that this operation needs is not installed.

    The message names the package and the command that installs it.
    """

    default_code = "NOT_INSTALLED"

    __str__ = VoxarrayError.__str__
    __reduce__ = VoxarrayError.__reduce__


class MemoryBudgetError(VoxarrayError, MemoryError):
    """An operation would need more memory than the budget allows.

    Usually nothing was read; only `statistics_by_label` may raise this while it reads. If the code
    is ``OUT_OF_MEMORY``, the system gave no more memory during the operation. Take a part or a
    coarser ``level(n)``, convert the image to an archive, or raise the budget: the setting
    ``voxarray.memory-budget`` (in dask's configuration), or ``--memory``.
    """

    default_code = "OVER_BUDGET"


class ModelError(VoxarrayError, RuntimeError):
    """A network that cannot be loaded, that fails, or that returns invalid predictions.

    The message says what the network did or returned, and what was expected. Give another model, or
    correct this one.
    """

    default_code = "BAD_MODEL"


class StateError(VoxarrayError, RuntimeError):
    """A call that the state of the object does not permit.

    The message says what to do first, or what to use instead.
    """

    default_code = "BAD_STATE"


class MissingImageError(StateError, KeyError):
    """An image or label map that a subject does not have; also a KeyError, as in TorchIO.

    The message lists those that it has.
    """

    default_code = "NO_SUCH_IMAGE"

    __str__ = VoxarrayError.__str__


def is_absence(error: OSError) -> bool:
    """Whether an error of the system says that there is nothing at a path, nor can be."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def of_system(error: OSError, path: str) -> VoxarrayError:
    """An error of the system while a file was opened, as one of ours that names the file."""
    if isinstance(error, PermissionError):
        return AccessDeniedError(
            f"{path} may not be read by this user ({error.strerror}): ask for the permission, or "
            "check the permissions of the folders above it",
            path=path,
        )
    if is_absence(error):
        text = f"there is no file {path} ({error.strerror}): check the path"
        return MissingFileError(text, path=path)
    if isinstance(error, IsADirectoryError):
        return UnsupportedError(
            f"{path} is a folder, and a file was expected: give the path of a file",
            code="NOT_A_FILE",
            path=path,
        )
    return TransportError(
        f"{path} cannot be read ({error.strerror or error}): check the disk, or try again",
        code="IO_ERROR",
        path=path,
    )


@contextmanager
def naming_errors_of_system(path: str) -> Iterator[None]:
    """Errors of the system that are raised inside become ours, as `of_system` makes them.

    `Path.exists` raises some: of a folder that may not be entered, and of names that are too long.
    """
    try:
        yield
    except VoxarrayError:
        raise
    except OSError as error:
        raise of_system(error, path) from error


class VoxarrayWarning(UserWarning):
    """Something in a file or a call that voxarray can handle, but that you should know of."""
