"""What is wrong with an archive, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass

from voxarray.core.errors import VoxarrayError


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written.

    Attributes:
        code: As errors have.
        where: The file, or the voxel.
        message: What was seen and what was expected.
    """

    code: str
    where: str
    message: str


def problem_of(where: str, error: VoxarrayError) -> Problem:
    """The problem that an error tells of."""
    return Problem(error.code, where, error.message)


def change_left(key: str, what: str) -> Problem:
    """What a change that did not end has left."""
    text = (
        f"{what}; the change was interrupted, or is still going on. The rest of the archive is "
        "intact. The next change of the archive, or voxarray clean, removes what is left"
    )
    return Problem("INTERRUPTED", key, text)


def link_left(key: str) -> Problem:
    """A link where a file should be."""
    return Problem(
        "SYMLINK",
        key,
        "is a link, and an archive holds only files of its own: put a copy of the file in its "
        "place",
    )
