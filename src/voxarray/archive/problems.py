"""Problems that a verification of an archive reports."""

from __future__ import annotations

from dataclasses import dataclass

from voxarray.core.errors import VoxarrayError


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of an archive that is damaged, missing or unexpected.

    Attributes:
        code: Error code.
        where: The file, or the voxel.
        message: What was seen and what was expected.
    """

    code: str
    where: str
    message: str


def problem_of(where: str, error: VoxarrayError) -> Problem:
    """The problem that an error describes; whoever shows it names the file before the message."""
    return Problem(error.code, where, error.message.removeprefix(f"{where} of {error.path} "))


def change_left(key: str, what: str) -> Problem:
    """The problem of files that an unfinished change has left."""
    text = (
        f"{what}; the change was interrupted, or is still going on. The rest of the archive is "
        "intact. The next change of the archive, or voxarray clean, removes the files "
        "that the unfinished change left behind"
    )
    return Problem("INTERRUPTED", key, text)


def link_left(key: str) -> Problem:
    """The problem of a link where a file should be."""
    return Problem(
        "SYMLINK",
        key,
        "is a link, and an archive holds only files of its own: put a copy of the file in its "
        "place",
    )
