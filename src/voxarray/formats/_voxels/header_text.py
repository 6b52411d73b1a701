"""Headers that are text: opening what they describe, a bounded beginning, strict numbers."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence

from voxarray.core import portable
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, MissingFileError, UnsupportedError, VoxarrayWarning
from voxarray.formats._voxels.file_array import FileArray
from voxarray.storage.file_identity import FileIdentity

LARGEST_TEXT = 1 << 20
"""Bytes that a header may have. Gradient tables take some kilobytes, a bomb what it likes."""

_LARGEST_SIZE = 2**62
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?|[+-]?(?:nan|inf)", re.I
)


def described(
    path: str | os.PathLike[str], read: Callable[[FileIdentity], tuple[FileArray, list[str]]]
) -> FileArray:
    """The image that a header describes, with its remarks as warnings to who opened it.

    Args:
        path: Of the header.
        read: Makes the image and the remarks; called once, errors of ours name the file.

    Raises:
        MissingFileError: There is no such file.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        source, remarks = read(identity)
    for remark in remarks:
        warn_caller(f"{remark} [{identity.path}]", VoxarrayWarning)
    return source


def beginning(identity: FileIdentity, count: int = LARGEST_TEXT) -> bytes:
    """The first bytes of a file, all of it if it is shorter."""
    return following(identity, 0, count)


def following(identity: FileIdentity, start: int, count: int) -> bytes:
    """Bytes of a file from ``start`` on, fewer where it ends before."""
    fd = identity.open()
    try:
        found = portable.pread(fd, count, start)
        identity.check(fd)
    finally:
        os.close(fd)
    return found


def lines_of(start: bytes) -> Iterator[tuple[bytes, int]]:
    """Lines with their ends, as ``splitlines`` finds them, and where each ends, one at a time:
    what follows a header is voxels, of which nothing should be made.
    """
    for match in _LINE.finditer(start):
        yield match[0], match.end()


def text_of(line: bytes) -> str:
    """A line as text: UTF-8, as today's programs write it, else Latin-1."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def detached_name(path: str, pattern: re.Pattern[str]) -> str:
    """The name by which a header that is to be written calls its file of voxels.

    Args:
        path: Of the file of voxels, to be in the header's folder.
        pattern: What stands for the names of several files.

    Raises:
        UnsupportedError: Whoever reads the header would look for another name (``BAD_NAME``).
    """
    name = os.path.basename(path)
    is_kept = name.isprintable() and name == name.strip() and name.split()[:1] != ["LIST"]
    if not is_kept or pattern.search(name):
        raise UnsupportedError(
            f"the header would name the file of its voxels {name!r}, but readers would not take "
            "that for a file name: choose a name that has no control characters and no '%', does "
            "not begin with the word LIST, and has no space at either end; or write header and "
            "voxels into one file (.nrrd, .mha)",
            code="BAD_NAME",
        )
    return name


def detached(header: FileIdentity, name: str, *, is_pattern: bool) -> FileIdentity:
    """The file of voxels that a header names, which must lie in the header's folder or below.

    Args:
        header: The file of the header.
        name: What it says.
        is_pattern: Whether that stands for the names of several files.

    Raises:
        UnsupportedError: It names several files, or lists them (``SEVERAL_DATA_FILES``).
        FormatError: It lies elsewhere (``OUTSIDE_ROOT``): a header could otherwise show any file
            that its reader may read as voxels.
        MissingFileError: There is no such file.
    """
    if is_pattern or name.split()[:1] == ["LIST"]:
        raise UnsupportedError(
            "the voxels are spread over several files: join them into one",
            code="SEVERAL_DATA_FILES",
        )
    if not name.isprintable():  # among them the null byte, which no path may hold
        raise FormatError(
            f"the header names {name!r} as the file of the voxels, which cannot be a file name: "
            "repair the header",
            code="BAD_HEADER",
        )
    folder = os.path.dirname(header.path)
    path = os.path.join(folder, name)
    real, root = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([real, root]) != root:
        raise FormatError(
            f"the header says that its voxels are in {name!r}, outside of its own folder: put that "
            "file beside the header, and write its name into the header",
            code="OUTSIDE_ROOT",
        )
    if not os.path.exists(real):
        raise MissingFileError(
            f"the header says that its voxels are in {name!r}, and there is no such file: put it "
            "beside the header"
        )
    if not stat.S_ISREG(os.stat(real).st_mode):
        raise FormatError(
            f"{name!r} is not a regular file: put the file of the voxels there", code="BAD_HEADER"
        )
    return FileIdentity.of(real)


def whole_numbers(text: str, what: str) -> list[int]:
    """Whole numbers between white space.

    Raises:
        FormatError: Something else stands there (``BAD_HEADER``).
    """
    words = text.split()
    if not words or not all(_WHOLE.fullmatch(word) for word in words):
        raise _not_numbers(text, what, "whole numbers")
    return [int(word) for word in words]


def real_numbers(text: str, what: str) -> list[float]:
    """Numbers between white space; NaN and infinity are for the caller to judge.

    Raises:
        FormatError: Something else stands there (``BAD_HEADER``).
    """
    words = text.split()
    if not words or not all(_REAL.fullmatch(word) for word in words):
        raise _not_numbers(text, what, "numbers")
    return [float(word) for word in words]


def checked_sizes(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    """Sizes of the axes of an array.

    Raises:
        FormatError: There are none, more than ``most``, or one is no size (``BAD_DIMS``).
    """
    if not 1 <= len(sizes) <= most or not all(1 <= n <= _LARGEST_SIZE for n in sizes):
        raise FormatError(
            f"the sizes are {tuple(sizes)}: an image has 1 to {most} axes of at least one voxel; "
            "repair the header",
            code="BAD_DIMS",
        )
    return tuple(sizes)


def checked_spacing(spacing: Sequence[float]) -> list[float]:
    """Millimetres between centres.

    Raises:
        FormatError: One is not finite, or not above 0 (``BAD_SPACING``).
    """
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise FormatError(
            f"the spacing is {list(spacing)}: it must be finite and above 0; repair the header",
            code="BAD_SPACING",
        )
    return list(spacing)


def _not_numbers(text: str, what: str, expected: str) -> FormatError:
    return FormatError(
        f"{what} is {text[:80]!r}: expected {expected}; repair the header", code="BAD_HEADER"
    )
